# The verbs that watch what answers and renew it.
.PHONY: collect labels erase monitor retrain run-due history

collect: $(RUN) ## turn the service's log of predictions into Parquet, and remove what is too old (ENVIRONMENT=…)
	$(RUN) collect $(environment)

labels: $(RUN) ## keep the labels of a CSV or Parquet file (FILE=… SEEN=MOMENT); without FILE, how many are known
	$(RUN) labels $(environment) $(if $(call given,FILE),add $(call option,--seen,SEEN) $(call option,--,FILE),coverage)

erase: $(RUN) ## forget a key: every logged row and label of it (KEY=…)
	$(RUN) erase $(environment) $(call option,--,KEY)

monitor: $(RUN) ## look at what was asked and answered, and judge it: ok, watch, retrain or incident (AS_OF=MOMENT ENVIRONMENT=…)
	$(RUN) monitor $(environment) $(call option,--as-of,AS_OF)

retrain: $(RUN) ## train again and promote, if the gate agrees; for monitoring's reason, where it asks (REASON=… FORCE=1)
	$(RUN) retrain $(environment) $(call option,--reason,REASON) $(call flag,--force,FORCE)

run-due: $(RUN) ## run what `schedule` in config/ says is due, once: for one line of cron (ENVIRONMENT=…)
	$(RUN) run-due $(environment)

history: $(RUN) ## which version and threshold answered when, who decided it and why (AT=MOMENT ENVIRONMENT=…)
	$(RUN) history $(environment) $(call option,--at,AT)
