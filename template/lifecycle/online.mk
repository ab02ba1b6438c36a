# Commands for online predictions: a service that handles requests.
USAGE += features serve client
.PHONY: year

features: $(RUN) ## compute the feature table of the service (AS_OF=TIME)
	$(RUN) features $(environment) $(call option,--as-of,AS_OF)

serve: $(RUN) ## run the service on this machine (PORT=8000 WORKERS=1 ENVIRONMENT=…)
	$(RUN) serve $(environment) $(call option,--port,PORT) $(call option,--workers,WORKERS)

client: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## build a typed client of the service, as a wheel in dist/ (BUILD=1)
	@UV="$(UV)" $(RUN) client $(environment) $(call option,--build,BUILD)

year: $(RUN) | $(filter .uv/bin/uv,$(UV)) ## simulate a year of the sample: traffic, late labels, drift, retraining, rollback
	@$(LOOSELEAF) year
