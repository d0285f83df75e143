"""python-dockercloud against a daemon: python py_dockercloud.py PORT TOKEN ENGINE OPERATOR. TOKEN is a
viewer's, OPERATOR an operator's. ENGINE is the socket of an engine that has the image lab:1, a stack `shop` with a service `web` of one container and 30
containers of no stack. Says what it has seen, or fails."""

import base64
import builtins
import json
import os
import subprocess
import sys
import threading
import time

port, token, engine, operator = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
login = base64.b64encode(("anybody:" + token).encode()).decode()
os.environ["DOCKERCLOUD_REST_HOST"] = "http://127.0.0.1:%d" % port
os.environ["DOCKERCLOUD_STREAM_HOST"] = "ws://127.0.0.1:%d/" % port
os.environ["DOCKERCLOUD_AUTH"] = "Basic " + login

# The library was written for Python 2: what it lacks here.
builtins.basestring = str
import dockercloud
import dockercloud.api.http as http

joined = http.urljoin
http.urljoin = lambda host, path: joined(host + "/", path.decode())

checks = 0


def check(what, so):
    global checks
    assert so, what
    checks += 1


def docker(*words):
    command = ["docker", "-H", "unix://" + engine]
    env = dict(os.environ, DOCKER_API_VERSION="1.41")
    return subprocess.run(command + list(words), check=True, env=env, stdout=subprocess.PIPE).stdout.decode().strip()


# What runs already is known a moment after the daemon has started.
while len(dockercloud.Container.list()) < 31:
    time.sleep(0.1)

# Everything is listed, page by page, and each object can be fetched by its uuid and its path.
containers = dockercloud.Container.list()
check("31 containers are listed", len(containers) == 31)
web = [it for it in containers if it.name == "shop_web_1"][0]
check("a container runs", web.state == "Running" and web.exit_code is None)
check("its uuid begins as the engine's id", docker("inspect", "-f", "{{.Id}}", "shop_web_1").startswith(web.uuid[:8]))
check("it can be fetched", dockercloud.Container.fetch(web.uuid).name == "shop_web_1")
check("its service can be fetched", dockercloud.Utils.fetch_by_resource_uri(web.service).name == "web")
check("a limit is one", len(dockercloud.Container.list(limit=3)) == 3)
check("by name", [it.uuid for it in dockercloud.Container.list(name="shop_web_1")] == [web.uuid])
check("by the beginning of the uuid", web.uuid in [it.uuid for it in dockercloud.Container.list(uuid__startswith=web.uuid[:8])])
check("by stack", [it.uuid for it in dockercloud.Container.list(service__stack__name="shop")] == [web.uuid])
check("by state", len(dockercloud.Container.list(state="Stopped")) == 30)

services = dockercloud.Service.list(stack__name="shop")
check("a service", [it.name for it in services] == ["web"] and services[0].current_num_containers == 1)
stacks = dockercloud.Stack.list()
check("a stack", [it.name for it in stacks] == ["shop"] and stacks[0].services == [services[0].resource_uri])
check("found by name and stack", dockercloud.Utils.fetch_remote_service("web.shop").uuid == services[0].uuid)
check("found by the short uuid", dockercloud.Utils.fetch_remote_container(web.uuid[:8]).uuid == web.uuid)

nodes = dockercloud.Node.list()
check("the container's node is listed", nodes[0].resource_uri == web.node and nodes[0].state == "Deployed")
clusters = dockercloud.NodeCluster.list()
check("the node's cluster is listed", clusters[0].resource_uri == nodes[0].node_cluster)
for nothing in (dockercloud.NodeType, dockercloud.Provider, dockercloud.Region, dockercloud.AZ, dockercloud.Action):
    check("nothing of %s" % nothing.__name__, nothing.list() == [])

# What is not there, and who may not.
try:
    dockercloud.Container.fetch("00000000-0000-4000-8000-000000000000")
    raise SystemExit("a container that is not there was fetched")
except dockercloud.ApiError as error:
    check("404", "Status 404" in str(error) and '"error"' in str(error))
dockercloud.dockercloud_auth = "Basic " + base64.b64encode(b"anybody:wrong").decode()
try:
    dockercloud.Container.list()
    raise SystemExit("a wrong key was taken")
except dockercloud.AuthError:
    check("401", True)
try:
    dockercloud.Events().run_forever()
    raise SystemExit("a wrong key was taken by the stream")
except dockercloud.AuthError:
    check("401 in the handshake", True)
dockercloud.dockercloud_auth = "Basic " + login

# The event stream.
heard = []
events = dockercloud.Events()
# As users of the library do, who find no argument for it.
events.url += "?type=container"


def opened():
    threading.Thread(target=lambda: docker("run", "-d", "--name", "heard", "lab:1")).start()


def said(message):
    event = json.loads(message)
    check("every member is there", {"type", "action", "parents", "resource_uri", "state", "uuid", "datetime"} <= set(event))
    heard.append((event["type"], event["action"], event["state"]))
    if event["state"] == "Running":
        check("the object can be fetched", dockercloud.Utils.fetch_by_resource_uri(event["resource_uri"]).name == "heard")
        check("the node is a parent", nodes[0].resource_uri in event["parents"])
        events.run_forever_flag = False
        events.ws.close()


events.on_open(opened)
events.on_message(said)
events.run_forever()
check("a life is heard", heard == [("container", "create", "Starting"), ("container", "update", "Running")])

# What changes things: a viewer may not, an operator is told where the action is.
service = dockercloud.Service.fetch(services[0].uuid)
try:
    service.stop()
    raise SystemExit("a viewer has stopped a service")
except dockercloud.ApiError as error:
    check("403", "Status 403" in str(error))
dockercloud.dockercloud_auth = "Basic " + base64.b64encode(("anybody:" + operator).encode()).decode()


def ended(it):
    uri = it.dockercloud_action_uri
    check("there is an action", uri.startswith("/api/audit/v1/action/"))
    while True:
        action = dockercloud.Action.fetch(uri.strip("/").split("/")[-1])
        check("its uuid is one", uri == action.resource_uri)
        if action.state in ("Success", "Failed"):
            return action
        check("it is on its way", action.state in ("Pending", "In progress"))
        time.sleep(0.1)


def becomes(what, so):
    """What an action has done is heard from the engine a moment later."""
    for _ in range(200):
        if so():
            break
        time.sleep(0.1)
    check(what, so())


def fetched():
    return dockercloud.Service.fetch(service.uuid)


check("it is taken", service.stop() and service.state == "Stopping")
action = ended(service)
check("it is stopped", action.state == "Success" and action.action == "Service Stop")
check("the action is about it", action.object == service.resource_uri and action.end_date is not None)
becomes("it is listed so", lambda: fetched().state == "Stopped")
check("it is started", service.start() and ended(service).state == "Success")
becomes("it runs", lambda: fetched().state == "Running")
before = fetched().containers
check("it is redeployed", service.redeploy(reuse_volumes=False) and ended(service).state == "Success")
becomes("its container is another, and it the same", lambda: fetched().containers != before and len(fetched().containers) == 1 and fetched().state == "Running")

service.target_num_containers = 3
check("it is scaled", service.save() and service.target_num_containers == 3)
first = service.dockercloud_action_uri
check("scaling is the same action", service.scale() and service.dockercloud_action_uri == first)
check("it has grown", ended(service).state == "Success")
becomes("three run", lambda: fetched().running_num_containers == 3)
service.target_num_containers = 1
check("it is scaled down", service.save() and ended(service).state == "Success")
becomes("one runs", lambda: fetched().current_num_containers == 1)
for bad in (0, "many"):
    service.target_num_containers = bad
    try:
        check("nobody can have that many", service.save() and ended(service).state == "Failed")
    except dockercloud.ApiError as error:
        check("400", "Status 400" in str(error))

stack = dockercloud.Stack.fetch(stacks[0].uuid)
check("a stack is redeployed", stack.redeploy() and ended(stack).state == "Success")
idle = [it for it in dockercloud.Container.list(name="idle-7")][0]
check("a container is terminated", idle.delete() and ended(idle).state == "Success")
check("it is gone", docker("ps", "-aq", "--filter", "name=^idle-7$") == "")
becomes("and shown so for a while", lambda: dockercloud.Container.fetch(idle.uuid).state == "Terminated")

# Actions: listed, the newest first, by their object; one that failed can be tried again.
actions = dockercloud.Action.list(object=service.resource_uri)
check("all of them are there", len(actions) >= 6 and actions[-1].action == "Service Stop")
check("one is found by its state", first in [it.resource_uri for it in dockercloud.Action.list(state="Success")])
again = dockercloud.Action.fetch(actions[-1].uuid)
check("it is done again", again.retry() and again.uuid != actions[-1].uuid and ended(again).state == "Success")
becomes("it is stopped again", lambda: fetched().state == "Stopped")
try:
    again.cancel()
    raise SystemExit("what has ended was canceled")
except dockercloud.ApiError as error:
    check("409", "Status 409" in str(error))

# The stream tells of actions, too, from the beginning.
told = []
events = dockercloud.Events()
events.url += "?type=action&since=oldest&parents=" + stack.resource_uri


def heard_action(message):
    event = json.loads(message)
    told.append(event["state"])
    check("it is about an action", event["resource_uri"] == "/api/audit/v1/action/%s/" % event["uuid"])
    if told[-1] == "Success":
        events.run_forever_flag = False
        events.ws.close()


events.on_message(heard_action)
events.run_forever()
check("from its beginning to its end", told == ["Pending", "In progress", "Success"])
print("%d checks" % checks)
