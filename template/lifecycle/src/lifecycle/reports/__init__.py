"""Pages for people, and the file names and verdicts of monitoring below `reports/<environment>/`."""

FORMAT = 1
OK, WATCH, RETRAIN, INCIDENT = VERDICTS = ("ok", "watch", "retrain", "incident")
# The newest report; a dated folder holds a copy of each.
LATEST = "monitoring.json"
REQUEST = "retrain_request.json"
