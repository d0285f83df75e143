"""The SDK of CloudEvents for Python against a daemon: python py_cloudevents.py PORT TOKEN RECEIVED.

RECEIVED is a file with the requests that a sink got, as JSON: [{"headers": {…}, "body": "…"}].
Says what it has seen, or fails.
"""

import json
import sys

import requests
from cloudevents.http import CloudEvent, from_dict, from_http, from_json, to_binary, to_json, to_structured

port, token, received = int(sys.argv[1]), sys.argv[2], sys.argv[3]
url = f"http://127.0.0.1:{port}/cloudevents"
login = {"Authorization": f"Bearer {token}"}
checks = 0


def check(what, so):
    global checks
    assert so, what
    checks += 1


def bring(headers, body):
    answer = requests.post(url, headers={**headers, **login}, data=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["recorded"]


def event(number, **more):
    attributes = {"type": "com.example.built", "source": "/ci", "id": str(number), **more}
    return CloudEvent(attributes, {"message": f"Build {number}", "n": number})


sent = [
    event(1, subject="/repos/ä", sadpriority="7"),
    event(2, dataschema="https://example.com/schema", comexampleflag="yes"),
    event(3),
    event(4),
]
told = bring(*to_structured(sent[0]))
check("what is brought in structured mode is recorded", told[0]["id"] == "1" and told[0]["source"] == "/ci")
told = bring(*to_binary(sent[1]))
check("and in binary mode", told[0]["id"] == "2")
batch = "[" + ",".join(to_json(it).decode() for it in sent[2:]) + "]"
told = bring({"Content-Type": "application/cloudevents-batch+json"}, batch)
check("and in a batch", [it["id"] for it in told] == ["3", "4"])

answer = requests.get(url, headers=login, params={"classes": "user.com.*"}, timeout=30)
check("a batch says what it is", answer.headers["Content-Type"] == "application/cloudevents-batch+json")
read = [from_dict(it) for it in answer.json()]
check("the SDK reads every event of it", len(read) == 4)
check("of the class", all(it["type"] == "user.com.example.built" for it in read))
check("of this machine", all(it["source"].startswith("sysadmd://") for it in read))
check("in the order of the log", [it["sequence"] for it in read] == sorted(it["sequence"] for it in read))
check("with its priority", str(read[0]["sadpriority"]) == "7" and read[0]["subject"] == "/repos/ä")
for ours, theirs in zip(sent, read):
    kept = from_json(json.dumps(theirs.data["data"]))
    check("what was brought is kept whole", kept.get_attributes() == ours.get_attributes())
    check("with its data", kept.data == ours.data)
    check("the message is for people", theirs.data["message"] == ours.data["message"])
    again = from_json(to_json(theirs))
    check("and the SDK loses nothing", again == theirs)

refused = requests.post(url, headers={**login, "Content-Type": "application/cloudevents+json"}, data="{}", timeout=30)
check("what is no event is refused", refused.status_code == 400)

with open(received, encoding="utf-8") as file:
    delivered = json.load(file)
modes = set()
for request in delivered:
    headers, body = request["headers"], request["body"].encode()
    kind = headers["content-type"]
    modes.add(kind)
    if kind == "application/cloudevents-batch+json":
        events = [from_dict(it) for it in json.loads(body)]
    else:
        events = [from_http(headers, body)]
    for it in events:
        check("a sink's event is one", it["type"] == "user.tick" and it["id"] and it["time"])
        check("with its data", it.data["data"]["n"] in range(3) and it.data["message"])
check("in every mode", len(modes) == 3)
print(f"{checks} checks")
