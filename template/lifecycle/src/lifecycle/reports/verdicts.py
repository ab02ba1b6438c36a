"""File names and verdicts of monitoring below `reports/<environment>/`, which the service and retraining read too."""

FORMAT = 1
OK, WATCH, RETRAIN, INCIDENT = VERDICTS = ("ok", "watch", "retrain", "incident")
# The newest report; a dated folder holds a copy of each.
LATEST = "monitoring.json"
REQUEST = "retrain_request.json"
