//! `sysadmctl plugin check`: does a plugin, in whatever language, keep to the protocol?

use std::process::ExitCode;

use protocol::sandbox::Rights;
use serde_json::{Value, json};

use super::target::{Target, TargetArgs};
use super::{Problem, print, print_json, printable};

mod session;
mod suite;
#[cfg(test)]
mod tests;

/// Which plugin to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    #[command(flatten)]
    target: TargetArgs,
}

/// How one check went.
#[derive(Debug)]
struct Verdict {
    name: &'static str,
    expected: &'static str,
    /// What was found instead; `None` when it passed.
    found: Option<String>,
    advice: &'static str,
}

/// Runs all checks and prints one line for each.
pub(crate) fn run(check: &Check, json: bool) -> Result<ExitCode, Problem> {
    let manifest = |found| Verdict {
        name: "manifest",
        expected: "manifest.json is valid and lies in a directory named like its id",
        found,
        advice: "correct the member it names; docs/guide/write-a-plugin.md shows a whole manifest",
    };
    let (id, grant, verdicts, last_words) = match Target::find(&check.target)? {
        Err(found) => (String::new(), None, vec![manifest(Some(found))], String::new()),
        Ok(target) => {
            let (mut verdicts, last_words) = suite::run(&target)?;
            verdicts.insert(0, manifest(None));
            let asked = Rights::asked_by(&target.manifest);
            let id = target.manifest.id;
            let grant = (!asked.is_nothing()).then(|| asked.grant(&id));
            (id, grant, verdicts, last_words)
        }
    };
    let passed = verdicts.iter().filter(|verdict| verdict.found.is_none()).count();
    let all = passed == verdicts.len();
    if json {
        let checks: Vec<Value> = verdicts.iter().map(Verdict::json).collect();
        print_json(
            &json!({ "plugin": id, "passed": all, "checks": checks, "grant": grant, "stderr": last_words }),
        )?;
    } else {
        verdicts.iter().try_for_each(|verdict| print(&verdict.line()))?;
        if let Some(grant) = grant {
            let grant = printable(&grant);
            print(&format!("NOTE {:<16} who installs it has to grant it: {grant}", "sandbox"))?;
        }
        if !all && !last_words.is_empty() {
            print("its standard error ended with:")?;
            last_words.lines().try_for_each(|line| print(&format!("  {}", printable(line))))?;
        }
        print(&format!("{passed} of {} checks passed", verdicts.len()))?;
    }
    Ok(ExitCode::from(u8::from(!all)))
}

impl Verdict {
    fn line(&self) -> String {
        let Self { name, expected, found, advice } = self;
        match found {
            None => format!("PASS {name:<16} {expected}"),
            Some(found) => {
                let found = printable(found);
                format!("FAIL {name:<16} expected: {expected}; found: {found}; to do: {advice}")
            }
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "passed": self.found.is_none(),
            "expected": self.expected,
            "found": self.found,
            "advice": self.found.is_some().then_some(self.advice),
        })
    }
}
