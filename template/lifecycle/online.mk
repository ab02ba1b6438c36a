# The verbs of a repository whose predictions are used online: a service answers requests.
USAGE += features serve client
.PHONY: year

features: $(RUN) ## everyone's entity features for the service (AS_OF=MOMENT)
	$(RUN) features $(environment) $(call option,--as-of,AS_OF)

serve: $(RUN) ## answer requests on this machine (PORT=8000 WORKERS=1 ENVIRONMENT=…)
	$(RUN) serve $(environment) $(call option,--port,PORT) $(call option,--workers,WORKERS)

client: $(RUN) ## build a typed client of the service, as a wheel in dist/ (BUILD=1)
	@$(RUN) client $(environment) $(call option,--build,BUILD)

year: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## play a year of the sample: traffic, late labels, drift, retrain, roll back
	@$(LOOSELEAF) year
