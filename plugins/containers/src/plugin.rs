//! From a call to its answer.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use sdk::{Context, Fault, FaultKind, Plugin, Request, Role, Value, json};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::change::busy::Busy;
use crate::change::target::{self, Named, Target};
use crate::change::verb::Verb;
use crate::change::{self, Ask, Rules};
use crate::config::Config;
use crate::container::Container;
use crate::group::Place;
use crate::redeploy::journal::Plan;
use crate::redeploy::recover;
use crate::worker::Worker;
use crate::{kept, query, redeploy, scale, show};

/// The plugin.
#[derive(Default)]
pub(crate) struct Containers {
    engines: OnceLock<Vec<Arc<Worker>>>,
    rules: OnceLock<Arc<Rules>>,
    busy: Arc<Busy>,
}

/// What alerts can be brought up to date at once.
const ALERTS_MAX: usize = sdk::SYNC_MAX;

impl Plugin for Containers {
    fn start(&self, ctx: &Context) -> Result<(), Fault> {
        let config = Config::read(ctx.config())?;
        let cannot = |error: std::io::Error| {
            Fault::new(FaultKind::Unavailable, format!("engines cannot be watched: {error}"))
        };
        let installation = kept::installation(ctx.state_dir()).map_err(cannot)?;
        let mut engines = Vec::new();
        for engine in &config.engine {
            let place = Place { installation: installation.clone(), engine: engine.name.clone() };
            let worker = Worker::new(place, engine, config.clone(), ctx).map_err(cannot)?;
            engines.push(Arc::new(worker));
        }
        let raised: Vec<_> = engines.iter().flat_map(|it| it.raised()).take(ALERTS_MAX).collect();
        ctx.sync_alerts(&raised)?;
        let rules = Arc::new(config.rules());
        for engine in &engines {
            engine.begin(ctx).map_err(cannot)?;
            // Calls wait until this has returned, and then for these turns.
            let turn = |plans: &[Plan]| {
                self.busy.first_turn(plans.iter().map(|plan| plan.service).collect())
            };
            recover::begin(ctx, engine, &rules, turn).map_err(cannot)?;
        }
        // It starts once.
        self.engines.set(engines).ok();
        self.rules.set(rules).ok();
        Ok(())
    }

    fn call(&self, ctx: &Context, request: &Request) -> Result<Value, Fault> {
        let args = &request.args;
        match request.method().as_str() {
            "containers/list" => self.list(&read(args)?),
            "containers/services" => self.services(&read(args)?),
            "containers/stacks" => self.stacks(&read(args)?),
            "containers/nodes" => Ok(self.nodes()),
            "containers/inspect" => self.inspect(ctx, &read(args)?),
            "containers/logs" => self.logs(&read(args)?),
            "containers/stats" => self.stats(&read(args)?),
            "sysadm/containers" => self.change(ctx, request.action().unwrap_or_default(), request),
            method => {
                let verb = method.strip_prefix("containers/").unwrap_or_default().to_owned();
                self.change(ctx, &verb, request)
            }
        }
    }
}

/// Which part of a list.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Part {
    offset: usize,
    limit: usize,
    gone: bool,
}

impl Default for Part {
    fn default() -> Self {
        Self { offset: 0, limit: PAGE_ROWS, gone: false }
    }
}

/// The most rows of a page.
const PAGE_ROWS: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    container: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    container: String,
    #[serde(default = "Log::usual_tail")]
    tail: usize,
    since: Option<String>,
}

impl Log {
    const fn usual_tail() -> usize {
        100
    }
}

fn read<T: DeserializeOwned>(args: &Value) -> Result<T, Fault> {
    let args = if args.is_null() { json!({}) } else { args.clone() };
    serde_json::from_value(args).map_err(|error| {
        Fault::bad_request(format!("the arguments are wrong: {error}"))
            .with_hint("rpc/discover describes them")
    })
}

impl Containers {
    fn engines(&self) -> impl Iterator<Item = &Arc<Worker>> {
        self.engines.get().into_iter().flatten().filter(|it| it.is_known())
    }

    fn list(&self, part: &Part) -> Result<Value, Fault> {
        let mut rows = Vec::new();
        for engine in self.engines() {
            let desk = engine.desk();
            let gone = desk.model.gone().filter(|_| part.gone);
            let all = desk.model.containers().values().chain(gone);
            rows.extend(all.map(|it| show::container(&engine.place, it)));
        }
        self.page("containers", rows, part)
    }

    fn services(&self, part: &Part) -> Result<Value, Fault> {
        let mut rows = Vec::new();
        for engine in self.engines() {
            let desk = engine.desk();
            let all = desk.model.all();
            let members = show::by_service(&engine.place, &all);
            let of = |uuid| members.get(uuid).map(Vec::as_slice).unwrap_or_default();
            let services = engine.place.services(&all);
            rows.extend(services.values().map(|it| show::service(&engine.place, it, of(&it.uuid))));
        }
        self.page("services", rows, part)
    }

    fn stacks(&self, part: &Part) -> Result<Value, Fault> {
        let mut rows = Vec::new();
        for engine in self.engines() {
            let desk = engine.desk();
            let (services, stacks) = engine.place.groups(&desk.model.all());
            rows.extend(stacks.values().map(|it| {
                let of: Vec<_> = it.services.iter().filter_map(|it| services.get(it)).collect();
                show::stack(&engine.place, it, &of)
            }));
        }
        self.page("stacks", rows, part)
    }

    fn nodes(&self) -> Value {
        let rows: Vec<Value> = self
            .engines()
            .map(|engine| {
                let desk = engine.desk();
                let running = show::running(&desk.model.all());
                show::node(&engine.place, &desk.status, running)
            })
            .collect();
        json!({ "nodes": rows })
    }

    /// Rows in the order of their names, and where the next page begins.
    fn page(&self, name: &str, mut rows: Vec<Value>, part: &Part) -> Result<Value, Fault> {
        if !(1..=PAGE_ROWS).contains(&part.limit) {
            return Err(Fault::bad_request(format!("`limit` must be from 1 to {PAGE_ROWS}")));
        }
        let key = |row: &Value| ["engine", "name", "uuid"].map(|it| row[it].to_string());
        rows.sort_by_cached_key(key);
        let (rows, total) = show::page(rows, part.offset, part.limit);
        let end = part.offset.saturating_add(rows.len());
        let next = (end < total && !rows.is_empty()).then_some(end);
        let unreachable: Vec<Value> = self.engines().filter_map(|it| unreachable(it)).collect();
        Ok(json!({ name: rows, "total": total, "next": next, "unreachable": unreachable }))
    }

    fn inspect(&self, ctx: &Context, one: &One) -> Result<Value, Fault> {
        let (engine, it) = self.find(&one.container)?;
        let mut shown = show::container(&engine.place, &it);
        // Environments hold passwords.
        if ctx.role() >= Role::Operator {
            let id = it.id.clone();
            let asked = engine.ask(|docker| async move { query::environment(&docker, &id).await });
            shown["environment"] = asked.map_err(|reason| engine.silent(&reason))?.into();
        }
        Ok(shown)
    }

    fn logs(&self, log: &Log) -> Result<Value, Fault> {
        if !(1..=LINES_MAX).contains(&log.tail) {
            return Err(Fault::bad_request(format!("`tail` must be from 1 to {LINES_MAX}")));
        }
        let since = log.since.as_deref().map(chrono::DateTime::parse_from_rfc3339).transpose();
        let since = since
            .map_err(|_| Fault::bad_request("`since` is no moment as RFC 3339 writes it"))?
            .map(|moment| moment.timestamp());
        let (engine, it) = self.find(&log.container)?;
        let (id, tail) = (it.id.clone(), log.tail);
        let asked =
            engine.ask(|docker| async move { query::logs(&docker, &id, (tail, since)).await });
        let (lines, cut) = asked.map_err(|reason| engine.silent(&reason))?;
        Ok(json!({ "name": it.name, "lines": lines, "cut": cut }))
    }

    fn stats(&self, one: &One) -> Result<Value, Fault> {
        let (engine, it) = self.find(&one.container)?;
        if !it.phase.is_up() {
            let sentence = format!("{} does not run, so it uses nothing", it.name);
            return Err(Fault::new(FaultKind::Conflict, sentence));
        }
        let id = it.id.clone();
        let asked = engine.ask(|docker| async move { query::stats(&docker, &id).await });
        asked.map_err(|reason| engine.silent(&reason))
    }

    /// One of the verbs, on a container, a service or a stack.
    fn change(&self, ctx: &Context, word: &str, request: &Request) -> Result<Value, Fault> {
        let Some(rules) = self.rules.get() else {
            return Err(Fault::new(FaultKind::Unavailable, "the plugin has not started yet"));
        };
        let change = Change::read(word).ok_or_else(|| sdk::unknown_method(request))?;
        let ask = Ask::read(&request.args, change.takes(), rules.usual)?;
        let target = self.target(&ask.named)?;
        let turn = || self.busy.turn(ctx, change.touches(&target, &ask));
        let _turn = if ask.dry_run { None } else { Some(turn()?) };
        // Whoever had the turn before may have changed what there is.
        let target = self.target(&ask.named)?;
        match change {
            Change::Verb(verb) => change::apply(ctx, (verb, &ask), &target, rules),
            Change::Redeploy => redeploy::redeploy(ctx, &ask, &target, rules),
            Change::Scale => scale::scale(ctx, &ask, &target, rules),
        }
    }

    fn target(&self, named: &Named) -> Result<Target, Fault> {
        target::find(&self.engines().collect::<Vec<_>>(), named)
    }

    /// The one container that this names: by its uuid, its name, or the beginning of its id.
    fn find(&self, named: &str) -> Result<(Arc<Worker>, Container), Fault> {
        let named = Named::Container(named.to_owned());
        let Target { engine, mut members, .. } = self.target(&named)?;
        members.pop().map(|it| (engine, it)).ok_or_else(Fault::internal)
    }
}

/// What can be changed.
#[derive(Debug, Clone, Copy)]
enum Change {
    Verb(Verb),
    Redeploy,
    Scale,
}

impl Change {
    fn read(word: &str) -> Option<Self> {
        match word {
            "redeploy" => Some(Self::Redeploy),
            "scale" => Some(Self::Scale),
            verb => Verb::read(verb).map(Self::Verb),
        }
    }

    /// Which arguments it takes beside those that every one takes.
    const fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Verb(verb) => verb.takes(),
            Self::Redeploy => &["timeout_s", "order", "pull", "reuse_volumes", "if_changed"],
            Self::Scale => &["timeout_s", "to", "by"],
        }
    }

    /// Which services it changes.
    fn touches(self, target: &Target, ask: &Ask) -> BTreeSet<Uuid> {
        let mut services = target.services.clone();
        if matches!(self, Self::Redeploy) {
            let users =
                target.members.iter().flat_map(|it| redeploy::users(&target.engine, it, ask));
            services.extend(users.map(|it| target.engine.place.service_of(&it).0));
        }
        services
    }
}

/// The most lines of a log in one answer.
const LINES_MAX: usize = 10_000;

fn unreachable(engine: &Worker) -> Option<Value> {
    let desk = engine.desk();
    let name = &engine.place.engine;
    (desk.status.up != Some(true)).then(|| json!({"engine": name, "reason": desk.status.reason}))
}
