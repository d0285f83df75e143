"""python-dockercloud against a daemon: python py_dockercloud.py PORT TOKEN ENGINE. ENGINE is the socket
of an engine that has the image lab:1, a stack `shop` with a service `web` of one container and 30
containers of no stack. Says what it has seen, or fails."""

import base64
import builtins
import json
import os
import subprocess
import sys
import threading
import time

port, token, engine = int(sys.argv[1]), sys.argv[2], sys.argv[3]
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
print("%d checks" % checks)
