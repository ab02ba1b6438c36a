"""What monitoring leaves below `reports/<environment>/` and others read: the service, the gate, a retrain."""

FORMAT = 1
OK, WATCH, RETRAIN, INCIDENT = VERDICTS = ("ok", "watch", "retrain", "incident")
# The newest report; a dated folder holds a copy of each.
LATEST = "monitoring.json"
REQUEST = "retrain_request.json"
