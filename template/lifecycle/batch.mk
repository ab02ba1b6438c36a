# Commands for batch predictions: everyone is scored as of a date.
USAGE += score
SMOKE += score

score: $(RUN) ## predict for everyone on a day (DATE=2026-01-01) or a range (FROM=… TO=…), or a file (INPUT=… OUTPUT=…)
	$(RUN) score $(environment) $(call option,--date,DATE) $(call option,--from,FROM) $(call option,--to,TO) \
		$(call option,--input,INPUT) $(call option,--output,OUTPUT)
