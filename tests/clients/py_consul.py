"""py-consul against a daemon: python py_consul.py PORT TOKEN. Says what it has seen, or fails."""

import sys
import threading

import consul
from consul.exceptions import ACLPermissionDenied, BadRequest, ConsulException

port, token = int(sys.argv[1]), sys.argv[2]
client = consul.Consul(host="127.0.0.1", port=port, token=token)
# It shows no token when it lists, so this reads by the anonymous role.
stranger = consul.Consul(host="127.0.0.1", port=port)
checks = 0


def check(what, so):
    global checks
    assert so, what
    checks += 1


def refused(what, kind, attempt):
    global checks
    try:
        attempt()
    except kind:
        checks += 1
        return
    raise AssertionError(what + " is not refused")


index, events = stranger.event.list(name="py")
check("nothing is there, under the index 1", (index, events) == ("1", []))

fired = client.event.fire("py", body="one", node=".", service="", dc="dc1")
check("the fired event has its id and name", fired["ID"] and fired["Name"] == "py")
check("its clock is not known yet", fired["LTime"] == 0 and fired["Version"] == 1)
check("an empty payload is null", client.event.fire("py-empty")["Payload"] is None)

index, events = stranger.event.list(name="py", node=".")
check("it is listed with its payload", [e["Payload"] for e in events] == [b"one"])
check("with the same id", events[0]["ID"] == fired["ID"])
high, low = (int(fired["ID"].replace("-", "")[at : at + 16], 16) for at in (0, 16))
check("under the index of its id", int(index) == high ^ low)
check("not by another name", stranger.event.list(name="p")[1] == [])
check("not for another node", stranger.event.list(name="py", node="elsewhere")[1] == [])

seen = []


def follow():
    at = index
    while len(seen) < 100:
        newer, found = stranger.event.list(name="py", index=at, wait="20s")
        assert int(newer) >= int(at), "the index goes back"
        seen.extend(e["Payload"] for e in found if ordinal(e) > int(at))
        at = newer


def ordinal(event):
    text = event["ID"].replace("-", "")
    return int(text[:16], 16) ^ int(text[16:], 16)


follower = threading.Thread(target=follow)
follower.start()
for number in range(100):
    client.event.fire("py", body=str(number))
    if number % 10 == 0:
        client.event.fire("py-other", body="not this")
follower.join(60)
check("a follower sees each event once, in order", seen == [b"%d" % n for n in range(100)])

large = "x" * 65536
check("64 KiB are taken", client.event.fire("py-large", body=large)["ID"])
refused("a byte more", ConsulException, lambda: client.event.fire("py-large", body=large + "x"))
refused("an underscore", BadRequest, lambda: client.event.fire("_py"))
refused("a bad pattern", ConsulException, lambda: client.event.fire("py", node="("))
refused("a tag alone", ConsulException, lambda: client.event.fire("py", tag="x"))
refused("another datacenter", ConsulException, lambda: client.event.fire("py", dc="elsewhere"))
refused("a stranger", ACLPermissionDenied, lambda: stranger.event.fire("py"))
refused("a bad wait", BadRequest, lambda: stranger.event.list(index=index, wait="2"))
check("the agent says its name", client.agent.self()["Config"]["NodeName"])
print(f"{checks} checks")
