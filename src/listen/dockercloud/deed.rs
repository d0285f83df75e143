//! What is changed through this face: each change is a job, and the job an action.

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use protocol::{Fault, FaultKind};
use serde_json::{Value, json};

use super::{Asker, Wrong, said};
use crate::listen::rest::{self, Answer};
use crate::wire::docker_cloud::{self as dockercloud, Kind, Refusal, Verb};

/// Where clients look for the action.
const ACTION_URI: HeaderName = HeaderName::from_static("x-dockercloud-action-uri");
/// The newest jobs among which actions are looked for.
const JOBS: usize = 1_000;

impl Asker<'_> {
    /// Has something done to an object.
    pub(super) async fn deed(
        &self,
        (kind, uuid): (Kind, &str),
        verb: Verb,
        reuse_volumes: Option<bool>,
    ) -> Result<Answer, Wrong> {
        if verb == Verb::Scale {
            return self.scale_as_asked(uuid).await;
        }
        let (name, args) = dockercloud::call(kind, uuid, verb, reuse_volumes);
        self.begin((kind, uuid), verb, (name, args)).await
    }

    /// Has a service brought to a number of containers.
    pub(super) async fn scale(&self, uuid: &str, target: u64) -> Result<Answer, Wrong> {
        let (name, mut args) = dockercloud::call(Kind::Service, uuid, Verb::Scale, None);
        args["to"] = target.into();
        self.begin((Kind::Service, uuid), Verb::Scale, (name, args)).await
    }

    /// Clients set the target first, which scales, and then ask for scaling: that is the same action.
    async fn scale_as_asked(&self, uuid: &str) -> Result<Answer, Wrong> {
        let (row, mut object) = self.found(Kind::Service, uuid).await?;
        let about = format!("/services/{uuid}");
        let jobs = self.jobs().await?;
        let is_it = |job: &&Value| job["method"] == "containers/scale" && job["resource"] == about;
        if let Some(job) = jobs.iter().find(is_it) {
            let show = json!({ "action": "show", "id": job["id"] });
            let to = self.ask("rpc", "jobs", show).await?["work"]["args"]["to"].take();
            if job["ended"].is_null() && !to.is_null() {
                object["target_num_containers"] = to;
            }
            return accepted(&object, job);
        }
        self.scale(uuid, row["total"].as_u64().unwrap_or(1)).await
    }

    async fn begin(
        &self,
        (kind, uuid): (Kind, &str),
        verb: Verb,
        (name, args): (&str, Value),
    ) -> Result<Answer, Wrong> {
        let (row, mut object) = self.found(kind, uuid).await?;
        let run = json!({
            "action": "run", "method": format!("containers/{name}"), "args": args,
            "locks": dockercloud::locks(kind, &row),
        });
        let made = self.call("rpc", "jobs", run).await?;
        object["state"] = verb.meanwhile().into();
        if let Some(target) = args.get("to") {
            object["target_num_containers"] = target.clone();
        }
        accepted(&object, &made["job"])
    }

    /// What the plugin tells of an object, and the object.
    async fn found(&self, kind: Kind, uuid: &str) -> Result<(Value, Value), Wrong> {
        let rows = self.rows(kind).await?;
        let is_it = |row: &&Value| row["uuid"] == uuid;
        let row = match kind {
            Kind::Container => rows.containers.iter().find(is_it),
            Kind::Service => rows.services.iter().find(is_it),
            _ => rows.stacks.iter().find(is_it),
        };
        let mut objects = dockercloud::objects(kind, &rows).into_iter();
        let object = objects.find(|object| object["uuid"] == uuid);
        let found = row.cloned().zip(object);
        Ok(found.ok_or_else(|| Refusal::new(404, "there is no such object here"))?)
    }

    /// Ends an action, or has it done again.
    pub(super) async fn again(&self, uuid: &str, cancels: bool) -> Result<Answer, Wrong> {
        let id = dockercloud::job_id(uuid).ok_or_else(nothing)?;
        // Only of what is an action.
        self.one_action(uuid).await?;
        let action = if cancels { "abort" } else { "retry" };
        let answer = self.ask("rpc", "jobs", json!({ "action": action, "id": id })).await?;
        if answer["abort"] == "refused" {
            return Err(Refusal::new(409, "it has ended, and cannot be canceled").into());
        }
        let job = &answer["job"];
        accepted(&dockercloud::action(job).ok_or_else(nothing)?, job)
    }

    /// One action.
    pub(super) async fn action(&self, uuid: &str) -> Result<Answer, Wrong> {
        match self.one_action(uuid).await {
            // What was begun because a trigger was called is no job.
            Err(Wrong::Refused(_)) => self.show(Kind::Action, uuid).await,
            found => Ok(said(&found?)),
        }
    }

    async fn one_action(&self, uuid: &str) -> Result<Value, Wrong> {
        let id = dockercloud::job_id(uuid).ok_or_else(nothing)?;
        let shown = self.ask("rpc", "jobs", json!({ "action": "show", "id": id })).await;
        let shown = shown.map_err(|fault| match fault.kind {
            FaultKind::NotFound => Wrong::Refused(nothing()),
            _ => Wrong::Failed(fault),
        })?;
        Ok(dockercloud::action(&shown["job"]).ok_or_else(nothing)?)
    }

    /// The newest jobs, the newest first.
    pub(super) async fn jobs(&self) -> Result<Vec<Value>, Fault> {
        let question = json!({ "action": "list", "limit": JOBS });
        match self.ask("rpc", "jobs", question).await?["jobs"].take() {
            Value::Array(jobs) => Ok(jobs),
            _ => Ok(Vec::new()),
        }
    }
}

fn nothing() -> Refusal {
    Refusal::new(404, "there is no such object here")
}

/// The object, and where its action is.
fn accepted(object: &Value, job: &Value) -> Result<Answer, Wrong> {
    let uuid = job["id"].as_str().and_then(dockercloud::action_uuid);
    let path = uuid.map(|uuid| dockercloud::uri("action", &uuid));
    let value = path.and_then(|path| HeaderValue::try_from(path).ok());
    let Some(value) = value else {
        tracing::error!(id = %job["id"], "a job's id cannot be an action's");
        return Err(Fault::internal().into());
    };
    let mut answer = rest::json(StatusCode::ACCEPTED, object.to_string());
    answer.headers_mut().insert(ACTION_URI, value);
    Ok(answer)
}
