//! One run: a cluster, its clients, the faults of a schedule one after another, the verdict.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::dice::Dice;
use super::fault::{self, Class};
use super::plan::Plan;
use super::scene::Scene;
use super::silence::Silences;
use crate::history::Report;

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// How long it took.
    pub seconds: u64,
    /// The verdict.
    pub report: Report,
    /// The longest time without an acknowledgement after blows to leaders, by class.
    pub silences: BTreeMap<String, Silences>,
}

impl Outcome {
    /// The measured part, as one line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let counts = &self.report.counts;
        serde_json::json!({
            "seed": self.seed,
            "seconds": self.seconds,
            "anomalies": self.report.anomalies.len(),
            "acknowledged": counts.acknowledged,
            "unknown": counts.unknown,
            "refused": counts.failed,
            "faults": counts.faults,
            "silence": self.silences,
        })
        .to_string()
    }
}

/// Does a run. Prints what it does next, with the seed, on standard output.
///
/// # Panics
/// When the cluster does not come up, or does not come back after a fault.
pub async fn run(binary: &Path, plan: Plan) -> Outcome {
    say(&format!("chaos: seed {}, {} nodes, faults {:?}", plan.seed, plan.nodes, plan.faults));
    let mut dice = Dice::new(plan.seed);
    let mut scene = Scene::set(binary, plan).await;
    let workload = scene.start_clients();
    scene.advance(500).await;
    let plan = scene.plan.clone();
    let faults_began = Instant::now();
    let mut schedule = plan.schedule(&mut dice).into_iter();
    let classes: Vec<Class> = plan.faults.keys().copied().collect();
    loop {
        let class = match schedule.next() {
            Some(class) => class,
            None if faults_began.elapsed() < plan.at_least => match dice.choose(&classes) {
                Some(class) => *class,
                None => break,
            },
            None => break,
        };
        let seconds = scene.elapsed().as_secs();
        say(&format!("chaos: {seconds} s, {} acknowledged: {}", scene.history.acknowledged(), class.name()));
        scene.revive().await;
        fault::strike(class, &mut scene, &mut dice).await;
        // It works again before the next fault: each is measured by itself.
        scene.advance(50).await;
        tokio::time::sleep(fault::calm(&mut dice, plan.calm_max)).await;
    }
    scene.conclude(workload).await
}

/// Standard output, past the capture of the test runner: a run that hangs must show how far it came.
pub fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}
