# The verbs that watch what answers and renew it.
.PHONY: monitor retrain run-due history

monitor: $(RUN) ## look at what was asked and answered, and judge it: ok, watch, retrain or incident (AS_OF=MOMENT ENVIRONMENT=…)
	$(RUN) monitor $(environment) $(call option,--as-of,AS_OF)

retrain: $(RUN) ## train again and promote, if the gate agrees; for monitoring's reason, where it asks (REASON=… FORCE=1)
	$(RUN) retrain $(environment) $(call option,--reason,REASON) $(call flag,--force,FORCE)

run-due: $(RUN) ## run what `schedule` in config/ says is due, once: for one line of cron (ENVIRONMENT=…)
	$(RUN) run-due $(environment)

history: $(RUN) ## which version and threshold answered when, who decided it and why (AT=MOMENT ENVIRONMENT=…)
	$(RUN) history $(environment) $(call option,--at,AT)
