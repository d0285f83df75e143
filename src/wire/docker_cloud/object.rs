//! Objects as Docker Cloud's clients read them, from what the plugin `containers` tells. A member
//! that a client reads without looking whether it is there is always there.

use serde_json::{Map, Value, json};

use super::route::Kind;
use super::{date, uri};

/// What the plugin tells, as far as a kind of object needs it.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// `containers/list`.
    pub containers: Vec<Value>,
    /// `containers/services`.
    pub services: Vec<Value>,
    /// `containers/stacks`.
    pub stacks: Vec<Value>,
    /// `containers/nodes`.
    pub nodes: Vec<Value>,
    /// `rpc/jobs`, the newest first.
    pub jobs: Vec<Value>,
    /// `rpc/triggers history`, the newest first.
    pub runs: Vec<Value>,
    /// What this machine is called.
    pub host: String,
}

/// Every object of this kind.
pub fn objects(kind: Kind, rows: &Rows) -> Vec<Value> {
    match kind {
        Kind::Stack => rows.stacks.iter().map(|row| stack(row, rows)).collect(),
        Kind::Service => {
            let members = members(&rows.containers);
            rows.services.iter().map(|row| service(row, &members, rows)).collect()
        }
        Kind::Container => rows.containers.iter().map(|row| container(row, rows)).collect(),
        Kind::Node => rows.nodes.iter().map(|row| node(row, rows)).collect(),
        Kind::NodeCluster => cluster(rows).into_iter().collect(),
        Kind::Action => actions(rows),
        Kind::Nothing => Vec::new(),
    }
}

/// What was asked for and what was begun by triggers, the newest first. The job that a trigger's call
/// became is the same action.
fn actions(rows: &Rows) -> Vec<Value> {
    let is_of_run = |job: &Value| rows.runs.iter().any(|run| run["job"] == job["id"]);
    let runs = rows.runs.iter().map(|row| (&row["created"], super::trigger::action(row)));
    let jobs = rows.jobs.iter().filter(|job| !is_of_run(job));
    let jobs = jobs.filter_map(|row| Some((&row["created"], super::action::action(row)?)));
    let mut all: Vec<(&Value, Value)> = runs.chain(jobs).collect();
    all.sort_by(|(one, _), (other, _)| other.as_str().cmp(&one.as_str()));
    all.into_iter().map(|(_, action)| action).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The path of an object that a row names, or null.
fn path(kind: &str, uuid: &Value) -> Value {
    uuid.as_str().map_or(Value::Null, |uuid| uri(kind, uuid).into())
}

fn paths(kind: &str, uuids: &Value) -> Vec<Value> {
    uuids.as_array().into_iter().flatten().map(|uuid| path(kind, uuid)).collect()
}

/// What every object begins with.
fn begin(kind: &str, row: &Value) -> Map<String, Value> {
    let members = [
        ("uuid", row["uuid"].clone()),
        ("resource_uri", path(kind, &row["uuid"])),
        ("name", row["name"].clone()),
        ("nickname", row["name"].clone()),
        ("state", row["state"].clone()),
        ("synchronized", true.into()),
        ("deployed_datetime", date(&row["created"])),
        ("destroyed_datetime", Value::Null),
        ("tags", json!([])),
    ];
    members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

fn with(mut object: Map<String, Value>, more: Value) -> Value {
    if let Value::Object(more) = more {
        object.extend(more);
    }
    Value::Object(object)
}

fn stack(row: &Value, rows: &Rows) -> Value {
    let of_stack = |it: &&Value| it["stack"]["uuid"] == row["uuid"];
    let created =
        rows.services.iter().filter(of_stack).filter_map(|it| it["created"].as_str()).min();
    let deployed = date(&created.map_or(Value::Null, Value::from));
    with(
        begin("stack", row),
        json!({
            "services": paths("service", &row["services"]), "deployed_datetime": deployed,
        }),
    )
}

/// The first container of each service.
type Members<'a> = std::collections::HashMap<&'a str, &'a Value>;

fn members(containers: &[Value]) -> Members<'_> {
    let mut first = Members::new();
    for it in containers {
        first.entry(text(&it["service"]["uuid"])).or_insert(it);
    }
    first
}

fn service(row: &Value, members: &Members<'_>, rows: &Rows) -> Value {
    let none = Value::Null;
    let first = members.get(text(&row["uuid"])).copied().unwrap_or(&none);
    let (total, running) =
        (row["total"].as_u64().unwrap_or(0), row["running"].as_u64().unwrap_or(0));
    let restart = match text(&row["restart"]) {
        "always" | "unless-stopped" => "ALWAYS",
        "on-failure" => "ON_FAILURE",
        _ => "OFF",
    };
    let own = json!({
        "stack": path("stack", &row["stack"]["uuid"]),
        "stack_name": row["stack"]["name"],
        "image_name": row["image"],
        "current_num_containers": total,
        "target_num_containers": total,
        "running_num_containers": running,
        "stopped_num_containers": total.saturating_sub(running),
        "containers": paths("container", &row["containers"]),
        "started_datetime": date(&row["started"]),
        "stopped_datetime": date(&first["stopped"]),
        "public_dns": rows.host,
        "autorestart": restart,
        "autodestroy": "OFF",
        "autoredeploy": false,
        "sequential_deployment": true,
        "deployment_strategy": "EMPTIEST_NODE",
        "roles": [],
        "calculated_envvars": [],
        "linked_from_service": [],
        "linked_to_service": [],
    });
    with(with_run(begin("service", row), first, &rows.host), own)
}

fn container(row: &Value, rows: &Rows) -> Value {
    let exit_code = &row["exit_code"];
    let own = json!({
        "service": path("service", &row["service"]["uuid"]),
        "node": path("node", &row["node"]),
        "stack_name": row["stack"]["name"],
        "image_name": row["image"],
        "exit_code": exit_code,
        "exit_code_msg": row["error"],
        "started_datetime": date(&row["started"]),
        "stopped_datetime": date(&row["stopped"]),
        "public_dns": rows.host,
        "private_ip": row["address"],
        "linked_to_container": [],
        "health": row["health"],
        "engine_state": row["phase"],
        "engine_id": row["id"],
    });
    with(with_run(begin("container", row), row, &rows.host), own)
}

/// How it is run: what a service and a container have in common.
fn with_run(object: Map<String, Value>, it: &Value, host: &str) -> Map<String, Value> {
    let words = |value: &Value| {
        let words: Vec<&str> =
            value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        words.join(" ")
    };
    let ports = it["ports"].as_array().into_iter().flatten();
    let ports: Vec<Value> = ports.map(|port| container_port(port, host)).collect();
    let mounts = it["mounts"].as_array().into_iter().flatten();
    let bindings = mounts.map(|mount| {
        json!({
            "host_path": mount["source"], "container_path": mount["path"],
            "rewritable": mount["writable"], "volumes_from": null,
        })
    });
    let whole = |value: &Value| value.as_i64().filter(|number| *number != 0);
    let megabytes = whole(&it["memory"]).map(|bytes| bytes / 1_048_576);
    let run = json!({
        "run_command": words(&it["command"]),
        "entrypoint": words(&it["entrypoint"]),
        "user": text(&it["user"]),
        "working_dir": text(&it["directory"]),
        "hostname": text(&it["hostname"]),
        "domainname": "",
        "net": text(&it["network"]),
        "pid": "none",
        "labels": it["labels"].as_object().cloned().unwrap_or_default(),
        "container_ports": ports,
        "container_envvars": [],
        "link_variables": {},
        "bindings": bindings.collect::<Vec<_>>(),
        "privileged": it["privileged"] == true,
        "read_only": it["read_only"] == true,
        "tty": it["tty"] == true,
        "stdin_open": false,
        "memory": megabytes,
        "memory_swap": null,
        "cpu_shares": whole(&it["cpu_shares"]),
        "cpuset": "",
        "mac_address": "",
        "dns": [],
        "dns_search": [],
        "cap_add": [],
        "cap_drop": [],
        "devices": [],
        "extra_hosts": [],
        "security_opt": [],
    });
    match with(object, run) {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn container_port(port: &Value, host: &str) -> Value {
    let name = match port["inner"].as_u64() {
        Some(80) => "http",
        Some(443) => "https",
        _ => "",
    };
    let (protocol, outer) = (text(&port["protocol"]), port["outer"].as_u64());
    json!({
        "protocol": protocol,
        "inner_port": port["inner"],
        "outer_port": outer,
        "port_name": name,
        "uri_protocol": name,
        "endpoint_uri": outer.map(|outer| format!("{protocol}://{host}:{outer}/")),
        "published": outer.is_some(),
    })
}

fn node(row: &Value, rows: &Rows) -> Value {
    let own = json!({
        "external_fqdn": rows.host,
        "public_ip": null,
        "last_seen": date(&row["seen"]),
        "node_cluster": path("nodecluster", &row["cluster"]),
        "node_type": null,
        "region": null,
        "availability_zone": null,
        "docker_version": row["version"],
        "docker_execdriver": "",
        "docker_graphdriver": row["driver"],
        "cpu": row["cpus"],
        "memory": row["memory"].as_i64().map(|bytes| bytes / 1_048_576),
        "disk": null,
        "tunnel": null,
        "current_num_containers": row["running"],
    });
    with(begin("node", row), own)
}

/// The engines of this machine are one cluster.
fn cluster(rows: &Rows) -> Option<Value> {
    let uuid = rows.nodes.first()?["cluster"].clone();
    let up = rows.nodes.iter().filter(|node| node["state"] == "Deployed").count();
    let state = if up == rows.nodes.len() { "Deployed" } else { "Partly deployed" };
    let row = json!({"uuid": uuid, "name": rows.host, "state": state, "created": null});
    let nodes: Vec<Value> = rows.nodes.iter().map(|row| path("node", &row["uuid"])).collect();
    let own = json!({
        "nodes": nodes,
        "node_type": null,
        "region": null,
        "disk": null,
        "provider_options": {},
        "current_num_nodes": rows.nodes.len(),
        "target_num_nodes": rows.nodes.len(),
    });
    Some(with(begin("nodecluster", &row), own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let stack = json!({"uuid": "k-1", "name": "shop"});
        Rows {
            runs: Vec::new(),
            containers: vec![json!({
                "uuid": "c-1", "id": "c1", "name": "shop_web_1", "image": "web:1", "state": "Running",
                "phase": "running", "health": null, "exit_code": null, "error": "",
                "service": {"uuid": "s-1", "name": "web"}, "stack": stack, "node": "n-1",
                "created": "2014-10-13T11:01:43.5Z", "started": null, "stopped": null,
                "labels": {}, "command": ["sleep", "1"], "entrypoint": [], "memory": 536_870_912,
                "ports": [{"protocol": "tcp", "inner": 80, "outer": 8080}],
                "mounts": [{"source": "data", "path": "/data", "writable": true}],
            })],
            services: vec![json!({
                "uuid": "s-1", "name": "web", "image": "web:1", "state": "Running", "stack": stack,
                "containers": ["c-1"], "total": 1, "running": 1, "restart": "always",
                "created": "2014-10-13T11:01:43Z", "started": null,
            })],
            stacks: vec![
                json!({"uuid": "k-1", "name": "shop", "state": "Running", "services": ["s-1"]}),
            ],
            nodes: vec![
                json!({"uuid": "n-1", "cluster": "l-1", "name": "docker", "state": "Deployed",
                "version": "20.10", "driver": "overlay2", "cpus": 2, "memory": 1_048_576,
                "running": 1, "seen": null}),
            ],
            jobs: Vec::new(),
            host: "here".to_owned(),
        }
    }

    /// What a client reads without a default (docs/protocols/docker-cloud.md).
    const READ: [(Kind, &[&str]); 5] = [
        (
            Kind::Stack,
            &["uuid", "resource_uri", "name", "state", "deployed_datetime", "destroyed_datetime"],
        ),
        (
            Kind::Service,
            &[
                "uuid",
                "resource_uri",
                "name",
                "state",
                "synchronized",
                "current_num_containers",
                "image_name",
                "deployed_datetime",
                "public_dns",
                "stack",
                "tags",
                "calculated_envvars",
            ],
        ),
        (
            Kind::Container,
            &[
                "uuid",
                "resource_uri",
                "name",
                "state",
                "image_name",
                "run_command",
                "exit_code",
                "deployed_datetime",
                "public_dns",
                "service",
                "node",
                "container_ports",
            ],
        ),
        (
            Kind::Node,
            &[
                "uuid",
                "resource_uri",
                "state",
                "external_fqdn",
                "last_seen",
                "node_cluster",
                "docker_version",
                "tags",
            ],
        ),
        (
            Kind::NodeCluster,
            &[
                "uuid",
                "resource_uri",
                "name",
                "state",
                "node_type",
                "region",
                "deployed_datetime",
                "current_num_nodes",
                "target_num_nodes",
                "tags",
            ],
        ),
    ];

    #[test]
    fn no_member_is_missing_that_a_client_reads() {
        for (kind, members) in READ {
            for object in objects(kind, &rows()) {
                for member in members {
                    assert!(object.get(*member).is_some(), "{kind:?} has no {member}");
                }
                let uuid = object["uuid"].as_str().unwrap();
                assert_eq!(object["resource_uri"], uri(kind.as_str(), uuid));
            }
            assert_eq!(objects(kind, &rows()).len(), 1, "{kind:?}");
            // Also when less is told than there should be.
            let bare = Rows {
                runs: Vec::new(),
                nodes: vec![json!({})],
                containers: vec![json!({})],
                services: vec![json!({})],
                stacks: vec![json!({})],
                jobs: vec![json!({})],
                host: String::new(),
            };
            objects(kind, &bare);
        }
    }

    #[test]
    fn dates_sizes_and_paths_are_as_the_clients_parse_them() {
        let container = &objects(Kind::Container, &rows())[0];
        assert_eq!(container["deployed_datetime"], "Mon, 13 Oct 2014 11:01:43 +0000");
        assert_eq!(container["memory"], 512);
        assert_eq!(container["service"], "/api/app/v1/service/s-1/");
        assert_eq!(container["node"], "/api/infra/v1/node/n-1/");
        let port = &container["container_ports"][0];
        assert_eq!(
            (&port["outer_port"], &port["endpoint_uri"]),
            (&json!(8080), &json!("tcp://here:8080/"))
        );
        let service = &objects(Kind::Service, &rows())[0];
        assert_eq!(
            (&service["autorestart"], &service["stack_name"]),
            (&json!("ALWAYS"), &json!("shop"))
        );
        assert_eq!(service["container_ports"], container["container_ports"]);
        assert!(objects(Kind::Action, &rows()).is_empty());
    }
}
