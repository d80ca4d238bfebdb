//! What the verbs of clusters print. The names of the JSON keys are a contract.

use highwater_client::{Cluster, Node, NodeState, PlannedMove, Problem, Severity};
use serde::Serialize;

use crate::error::CliError;
use crate::output::{Report, Table, write_stdout};

/// Numbers of nodes, separated by commas.
pub(crate) fn nodes(nodes: impl IntoIterator<Item = u64>) -> String {
    nodes.into_iter().map(|node| node.to_string()).collect::<Vec<_>>().join(",")
}

/// A count of bytes, to three digits.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = crate::console::as_f64(bytes);
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 1024.0
        && let Some(next) = units.next()
    {
        value /= 1024.0;
        unit = Some(next);
    }
    let unit = unit.copied().unwrap_or_default();
    let digits = if unit == "B" || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {unit}")
}

/// Something was begun or is done: one line.
pub(super) struct Begun(pub(super) String);

impl Begun {
    pub(super) fn print(self) -> Result<(), CliError> {
        write_stdout(format!("{}\n", self.0).as_bytes())
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Status {
    cluster: String,
    controller: Option<u64>,
    version: String,
    nodes: Vec<NodeRow>,
}

#[derive(Debug, Serialize)]
struct NodeRow {
    node: u64,
    address: String,
    peer_address: String,
    rack: String,
    state: &'static str,
    fenced: bool,
    leaders: Option<u32>,
    preferred_leaders: u32,
    replicas: u32,
    free_bytes: Option<u64>,
    heard_ms: Option<u64>,
    version: Option<String>,
    metadata_voter: Option<bool>,
}

impl Status {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self {
            cluster: cluster.id,
            controller: cluster.controller.map(NodeIdNumber::number),
            version: cluster.version,
            nodes: cluster.nodes.into_iter().map(NodeRow::new).collect(),
        }
    }
}

/// The number of a node, as a function that can be named.
trait NodeIdNumber {
    fn number(self) -> u64;
}

impl NodeIdNumber for highwater_client::NodeId {
    fn number(self) -> u64 {
        self.get()
    }
}

impl NodeRow {
    fn new(node: Node) -> Self {
        Self {
            node: node.id.get(),
            address: node.address,
            peer_address: node.peer_address,
            rack: node.rack,
            state: match node.state {
                NodeState::Draining => "draining",
                NodeState::Decommissioning => "decommissioning",
                _ => "active",
            },
            fenced: node.is_fenced,
            leaders: node.leaders,
            preferred_leaders: node.preferred_leaders,
            replicas: node.replicas,
            free_bytes: node.data_free_bytes,
            heard_ms: node.heard.map(|heard| u64::try_from(heard.as_millis()).unwrap_or(u64::MAX)),
            version: node.version,
            metadata_voter: node.is_metadata_voter,
        }
    }

    fn state(&self) -> String {
        match (self.fenced, self.state) {
            (false, state) => state.to_owned(),
            (true, "active") => "fenced".to_owned(),
            (true, state) => format!("{state}, fenced"),
        }
    }

    fn heard(&self) -> String {
        match self.heard_ms {
            None => "never".to_owned(),
            Some(ms) if ms < 2_000 => "now".to_owned(),
            Some(ms) => format!("{} s ago", ms / 1_000),
        }
    }
}

impl Report for Status {
    fn table(&self) -> String {
        let or_dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
        let mut table =
            Table::new(["NODE", "CLIENTS", "NODES", "RACK", "STATE", "HEARD", "LEADS", "REPLICAS", "FREE", "VERSION"]);
        for row in &self.nodes {
            let mut name = row.node.to_string();
            if Some(row.node) == self.controller {
                name.push('*');
            }
            table.row([
                name,
                row.address.clone(),
                or_dash(Some(row.peer_address.clone())),
                or_dash(Some(row.rack.clone())),
                row.state(),
                row.heard(),
                or_dash(row.leaders.map(|leaders| leaders.to_string())),
                row.replicas.to_string(),
                or_dash(row.free_bytes.map(size)),
                or_dash(row.version.clone()),
            ]);
        }
        let controller = match self.controller {
            Some(node) => format!("node {node} (*)"),
            None => "none at the moment".to_owned(),
        };
        format!("cluster     {}\ncontroller  {controller}\n\n{}", self.cluster, table.render())
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Health {
    healthy: bool,
    problems: Vec<ProblemRow>,
}

#[derive(Debug, Serialize)]
struct ProblemRow {
    severity: &'static str,
    text: String,
    advice: String,
}

impl Health {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        let row = |problem: Problem| ProblemRow {
            severity: match problem.severity {
                Severity::Warning => "warning",
                _ => "critical",
            },
            text: problem.text,
            advice: problem.advice,
        };
        Self { healthy: problems.is_empty(), problems: problems.into_iter().map(row).collect() }
    }
}

impl Report for Health {
    fn table(&self) -> String {
        if self.healthy {
            return "healthy\n".to_owned();
        }
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&format!("{:<9} {}\n", problem.severity, problem.text));
            if !problem.advice.is_empty() {
                text.push_str(&format!("          {}\n", problem.advice));
            }
        }
        text
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Plan {
    begun: bool,
    moves: Vec<MoveRow>,
}

#[derive(Debug, Serialize)]
struct MoveRow {
    topic: String,
    partition: u32,
    from: Vec<u64>,
    to: Vec<u64>,
}

impl Plan {
    pub(super) fn new(moves: Vec<PlannedMove>, is_dry_run: bool) -> Self {
        let ids = |nodes: Vec<highwater_client::NodeId>| nodes.into_iter().map(NodeIdNumber::number).collect();
        let row = |planned: PlannedMove| MoveRow {
            topic: planned.topic,
            partition: planned.partition.get(),
            from: ids(planned.from),
            to: ids(planned.to),
        };
        Self { begun: !is_dry_run && !moves.is_empty(), moves: moves.into_iter().map(row).collect() }
    }
}

impl Report for Plan {
    fn table(&self) -> String {
        if self.moves.is_empty() {
            return "replicas and leaders are spread evenly; nothing is to be done\n".to_owned();
        }
        let mut table = Table::new(["TOPIC", "PARTITION", "FROM", "TO"]);
        for row in &self.moves {
            let list = |ids: &[u64]| nodes(ids.iter().copied());
            table.row([row.topic.clone(), row.partition.to_string(), list(&row.from), list(&row.to)]);
        }
        let what =
            if self.begun { "begun; more steps follow as these are done" } else { "this is what would be done first" };
        format!("{what}\n\n{}", table.render())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1_023), "1023 B");
        assert_eq!(size(1_536), "1.5 KiB");
        assert_eq!(size(200 << 20), "200 MiB");
        assert_eq!(size(u64::MAX), "16384 PiB");
    }

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let problem = ProblemRow { severity: "critical", text: "node 2 is silent".into(), advice: "start it".into() };
        let health = Health { healthy: false, problems: vec![problem] };
        assert_eq!(health.table(), "critical  node 2 is silent\n          start it\n");
        assert_eq!(Health::new(Vec::new()).table(), "healthy\n");
        let json = serde_json::to_string(&Health::new(Vec::new())).unwrap();
        assert_eq!(json, r#"{"healthy":true,"problems":[]}"#);
    }

    #[test]
    fn the_table_of_nodes_has_a_line_a_node_and_marks_the_controller() {
        let row = NodeRow {
            node: 2,
            address: "a:7400".into(),
            peer_address: "a:7401".into(),
            rack: String::new(),
            state: "active",
            fenced: true,
            leaders: None,
            preferred_leaders: 1,
            replicas: 3,
            free_bytes: Some(1 << 30),
            heard_ms: Some(65_000),
            version: None,
            metadata_voter: None,
        };
        let status = Status { cluster: "c".into(), controller: Some(2), version: "0.1.0".into(), nodes: vec![row] };
        let line = status.table().lines().last().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(line, "2* a:7400 a:7401 - fenced 65 s ago - 3 1.0 GiB -");
    }
}
