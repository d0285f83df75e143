//! `sysadmctl doctor`: what is wrong with the installation on this machine, and how to mend it.
//!
//! Each check is a small function: it gathers facts, and a pure part judges them. Nothing is
//! changed anywhere. What the daemon would have to say is asked only when it answers.

mod ask;
mod certificate;
mod files;
mod names;
mod place;
mod reach;
mod system;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::client::{Client, Hello};
use super::exit::{Exit, Failure};
use super::output::{self, Style};
use super::target::{Connection, Place as Address, Target};
use place::Place;

/// Where the installation is.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// The daemon's state directory [default: as the configuration says]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The daemon's configuration [default as root: /etc/sysadmd/sysadmd.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Doctor {
    /// The file with the configuration, whether it is there or not.
    pub(super) fn config(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(place::FILE))
    }
}

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but not for everybody or not for long.
    Warning,
    /// It is broken or unsafe.
    Problem,
    /// It could not be looked at.
    Unknown,
}

/// What one check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// The check's stable name.
    check: &'static str,
    verdict: Verdict,
    /// One sentence without its full stop.
    what: String,
    /// The command or the configuration's key that mends it.
    mend: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, what: what.into(), mend: None }
    }

    fn unknown(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Unknown, what: what.into(), mend: None }
    }

    fn warning(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, what: what.into(), mend: Some(mend.into()) }
    }

    fn problem(check: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Problem, what: what.into(), mend: Some(mend.into()) }
    }
}

/// Runs every check and prints what they found. Ends with 1 when something is a problem.
pub(crate) async fn run(
    doctor: &Doctor,
    connection: &Connection,
    style: Style,
) -> Result<(), Failure> {
    report(style, &look(doctor, connection).await?)
}

/// What every check has found, as JSON.
pub(crate) async fn findings(doctor: &Doctor, connection: &Connection) -> Result<Value, Failure> {
    Ok(json!({"findings": look(doctor, connection).await?}))
}

async fn look(doctor: &Doctor, connection: &Connection) -> Result<Vec<Finding>, Failure> {
    if connection.url.is_some() {
        return Err(Failure::usage("the doctor looks at this machine: it takes no --url"));
    }
    let (place, mut findings) = Place::find(doctor, connection.socket.as_deref());
    let target = Target { place: Address::Unix(place.socket.clone()), token: connection.token()? };
    if place.is_fresh() {
        // What the daemon makes when it first starts is nothing to miss before.
        if place.has_own_certificate() {
            findings.extend(certificate::check(&place, system::now()));
        }
        findings.extend(system::check(&place));
        findings.push(reach::never(&place));
        return Ok(findings);
    }
    findings.extend(files::check(&place));
    findings.extend(certificate::check(&place, system::now()));
    findings.extend(system::check(&place));
    let (socket, answered) = reach::socket(&place, &target).await;
    findings.extend(socket);
    if let Some((mut client, hello)) = answered {
        findings.extend(with_daemon(&place, &mut client, &hello).await);
    }
    Ok(findings)
}

async fn with_daemon(place: &Place, client: &mut Client, hello: &Hello) -> Vec<Finding> {
    let mut findings = vec![certificate::served(place, hello.fingerprint.as_deref())];
    findings.push(reach::tls(place, hello.fingerprint.as_deref()).await);
    findings.push(ask::clock(client, hello, system::now()).await);
    findings.extend(ask::plugins(client, place).await);
    findings.push(ask::audit(client).await);
    findings.extend(names::check(place, &hello.hostname).await);
    findings
}

fn report(style: Style, findings: &[Finding]) -> Result<(), Failure> {
    let count = |verdict| findings.iter().filter(|it| it.verdict == verdict).count();
    let (problems, warnings) = (count(Verdict::Problem), count(Verdict::Warning));
    if style.json {
        let answer = json!({"findings": findings, "problems": problems, "warnings": warnings});
        output::value(style, &answer)?;
    } else {
        let lines: String = findings.iter().map(|finding| shown(style, finding)).collect();
        let sum =
            format!("{} looked at: problems {problems}, warnings {warnings}\n", findings.len());
        output::print(&format!("{lines}{sum}"))?;
    }
    // The list has said it all.
    if problems == 0 { Ok(()) } else { Err(Failure::new(Exit::Failed, "")) }
}

fn shown(style: Style, Finding { check, verdict, what, mend }: &Finding) -> String {
    let word = match verdict {
        Verdict::Ok => style.faint("ok     "),
        Verdict::Warning => style.bold("warning"),
        Verdict::Problem => style.bold("PROBLEM"),
        Verdict::Unknown => style.faint("unknown"),
    };
    let mend = mend.as_ref().map(|mend| format!("{:28}mend: {}\n", "", output::clean(mend)));
    format!("{word}  {check:<17}  {}\n{}", output::clean(what), mend.unwrap_or_default())
}
