# Commands that monitor the deployed version and renew it.
.PHONY: collect labels erase monitor retrain history

collect: $(RUN) ## convert the service's prediction log to Parquet, and remove what is too old (ENVIRONMENT=…)
	$(RUN) collect $(environment)

labels: $(RUN) ## import the labels of a CSV or Parquet file (FILE=… SEEN=TIMESTAMP); without FILE, show how many are known
	$(RUN) labels $(environment) $(if $(call given,FILE),add $(call option,--seen,SEEN) $(call option,--,FILE),coverage)

erase: $(RUN) ## erase every logged row, score and label of a key (KEY=…)
	$(RUN) erase $(environment) $(call option,--,KEY)

monitor: $(RUN) ## check inputs, predictions and labels: ok, watch, retrain or incident (AS_OF=TIMESTAMP ENVIRONMENT=…)
	$(RUN) monitor $(environment) $(call option,--as-of,AS_OF)

retrain: $(RUN) ## train again and promote if the gate passes (REASON=… FORCE=1; DUE=1 only if something demands it)
	$(RUN) retrain $(environment) $(call option,--reason,REASON) $(call flag,--force,FORCE) $(call flag,--due,DUE)

history: $(RUN) ## list which version and threshold were deployed when, by whom and why (AT=TIMESTAMP ENVIRONMENT=…)
	$(RUN) history $(environment) $(call option,--at,AT)
