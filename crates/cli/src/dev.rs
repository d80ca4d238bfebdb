//! `highwater dev`: a node on this machine, or a cluster of several, with nothing to prepare.
//!
//! Owns: the banner. Where each of several nodes is, is [`place`]'s. The nodes themselves are the same as that of
//! `highwater server`.

mod place;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::slice;

use clap::Args;
use highwater_broker::config::{Config, Sources};

use self::place::Place;
use crate::error::CliError;
use crate::node_args::NodeArgs;
use crate::serving::{Reached, run_node, run_nodes, start_logging};

/// Which log lines `dev` writes unless it is told otherwise: the banner says the rest.
const QUIET: &str = "warn";
const DEFAULT_PORT: u16 = 7400;
/// From the port for clients to that for HTTP, where nothing else is said.
const HTTP_ABOVE: u16 = 80;
/// And to that for Kafka's protocol: from 7400 to 9092.
const KAFKA_ABOVE: u16 = 1692;

/// What `highwater dev` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "The data directory is ./highwater-data unless --data says otherwise; it is made when it is missing.\n\
                        Several nodes have theirs in node-1, node-2 ... below it, and listen ten ports apart.\n\
                        Ctrl-C stops everything in order, a second Ctrl-C at once."
)]
pub(crate) struct DevArgs {
    /// Run a cluster of so many nodes, 1, 3 or 5, all in this process
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = node_count)]
    nodes: u16,
    #[command(flatten)]
    node: NodeArgs,
}

fn node_count(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(count @ (1 | 3 | 5)) => Ok(count),
        _ => Err("1, 3 or 5: a cluster goes on while more than half of its nodes run".to_owned()),
    }
}

/// Runs a node, or several, until asked to stop.
pub(crate) fn run(args: DevArgs) -> Result<(), CliError> {
    let config = load(&args.node)?;
    let is_asked = config.settings().any(|setting| setting.key == "logging.filter" && setting.source != "default");
    let filter = if is_asked { &config.logging.filter } else { QUIET };
    start_logging(filter, config.logging.format)?;
    let data = config.data.dir.clone();
    check_data(&data, args.nodes, config.grpc.listen.port())?;
    if args.nodes == 1 {
        return run_node(config, move |node| banner(node, &data, &own_name()));
    }
    let places = Place::of(&config, args.nodes)?;
    let voters: Vec<String> = places.iter().map(|place| place.peers.to_string()).collect();
    let load = |place: &Place| {
        let settings = place.settings(&voters);
        let first = settings.iter().map(|(key, value)| ("--nodes", *key, value.as_str()));
        args.node.load_with(Sources::of_process(None), first)
    };
    let configs = places.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    run_nodes(configs, move |nodes| cluster_banner(nodes, &data, &own_name()))
}

/// The settings of one node. Its ports stay out of the way of other nodes on this machine.
fn load(args: &NodeArgs) -> Result<Config, CliError> {
    // Nobody joins a node that is tried out, and the port that a cluster has may be another one's.
    let sources = || Sources::of_process(None).with_preset("dev", "cluster.listen", "127.0.0.1:0");
    let port = args.load_from(sources())?.grpc.listen.port();
    let above = |ports: u16| match port {
        0 => "127.0.0.1:0".to_owned(),
        port => format!("127.0.0.1:{}", port.checked_add(ports).unwrap_or(0)),
    };
    let sources = sources().with_preset("dev", "http.listen", above(HTTP_ABOVE));
    args.load_from(sources.with_preset("dev", "kafka.listen", above(KAFKA_ABOVE)))
}

/// Refuses data that was made with another number of nodes: their cluster would wait for nodes that nobody starts. And
/// that of several nodes when these would listen on any free ports: each would look for the others where they were.
fn check_data(data: &Path, nodes: u16, port: u16) -> Result<(), CliError> {
    let there = (1..=9).filter(|number| data.join(format!("node-{number}")).exists()).count();
    let has_one = data.join("identity").exists();
    let found = match (there, has_one) {
        (0, false) => return Ok(()),
        (0, true) if nodes == 1 => return Ok(()),
        (_, true) => "the data of one node".to_owned(),
        (there, false) if there == usize::from(nodes) && port != 0 => return Ok(()),
        (there, false) if there == usize::from(nodes) => {
            let found = format!("the data of {there} nodes, which look for each other on the ports that they had");
            let advice = "--listen with port 0 takes others: start them where they were (without --listen: from port \
                          7400 on), or name another directory with --data";
            return Err(CliError::OtherData { data: data.to_owned(), found, advice: advice.to_owned() });
        }
        (there, false) => format!("the data of {there} nodes"),
    };
    let same = if has_one { "leave out --nodes".to_owned() } else { format!("say --nodes {there}") };
    let advice = format!("{same}, or name another directory with --data");
    Err(CliError::OtherData { data: data.to_owned(), found, advice })
}

/// How this binary was called, so that what the banner tells to copy works from where the user is.
fn own_name() -> String {
    let called = std::env::args_os().next().map(|name| name.to_string_lossy().into_owned());
    called.filter(|name| !name.is_empty() && !name.contains(' ')).unwrap_or_else(|| "highwater".to_owned())
}

fn banner(node: &Reached, data: &Path, name: &str) -> String {
    let address = node.clients;
    let server = if is_default(address) { String::new() } else { format!(" --server {address}") };
    let (http, kafka) = (http_line(slice::from_ref(node)), kafka_line(slice::from_ref(node)));
    format!(
        "\
Highwater {version}, one node on this machine

  gRPC         {address}
  Kafka        {kafka}
  HTTP         {http}
  data         {data}
  durability   acknowledged = fsynced: what is acknowledged is on this machine's disk, whatever ends the process

Next, in another terminal:

  {name} topic create greetings{server}
  seq 5 | {name} produce greetings{server}
  {name} consume greetings --offset start --exit-at-end{server}
",
        version = env!("CARGO_PKG_VERSION"),
        data = data.display(),
    )
}

fn cluster_banner(nodes: &[Reached], data: &Path, name: &str) -> String {
    let list = nodes.iter().map(|node| node.clients.to_string()).collect::<Vec<_>>().join(",");
    let is_usual = nodes.first().is_some_and(|first| is_default(first.clients));
    let (http, kafka) = (http_line(nodes), kafka_line(nodes));
    let server = if is_usual { String::new() } else { format!(" --server {list}") };
    format!(
        "\
Highwater {version}, a cluster of {count} nodes on this machine

  gRPC         {list}
  Kafka        {kafka}
  HTTP         {http}
  data         {data}, node-1 to node-{count}
  durability   acknowledged = fsynced by a majority of a partition's replicas

Next, in another terminal:

  {name} topic create greetings -p 3 -r {count}{server}
  seq 5 | {name} produce greetings{server}
  {name} consume greetings --offset start --exit-at-end{server}
  {name} topic describe greetings{server}
  {name} cluster status{server}
  {name} cluster drain 1 --wait{server}      # node 1 hands over all that it leads; --undo lets it lead again
",
        version = env!("CARGO_PKG_VERSION"),
        count = nodes.len(),
        data = data.display(),
    )
}

/// Where the pages for machines are.
fn http_line(nodes: &[Reached]) -> String {
    let addresses: Vec<String> = nodes.iter().filter_map(|node| node.http).map(|http| http.to_string()).collect();
    if addresses.is_empty() { "off".to_owned() } else { format!("{} (/metrics, /readyz)", addresses.join(",")) }
}

/// Where Kafka's protocol is spoken: a line for everybody, and one for each listener with a name.
fn kafka_line(nodes: &[Reached]) -> String {
    let addresses: Vec<String> = nodes.iter().filter_map(|node| node.kafka).map(|kafka| kafka.to_string()).collect();
    let mut lines = if addresses.is_empty() { "off".to_owned() } else { addresses.join(",") };
    let names: BTreeSet<&String> = nodes.iter().flat_map(|node| node.kafka_listeners.keys()).collect();
    for name in names {
        let addresses = nodes.iter().filter_map(|node| node.kafka_listeners.get(name));
        let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
        lines.push_str(&format!("\n               {} ({name})", addresses.join(",")));
    }
    lines
}

fn is_default(address: SocketAddr) -> bool {
    address.ip().is_loopback() && address.is_ipv4() && address.port() == DEFAULT_PORT
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn reached(clients: u16, http: Option<u16>) -> Reached {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let kafka = http.map(|port| address(port + 1));
        Reached { clients: address(clients), http: http.map(address), kafka, kafka_listeners: BTreeMap::new() }
    }

    #[test]
    fn the_commands_of_the_banner_reach_the_node() {
        let other = banner(&reached(9999, Some(9998)), Path::new("d"), "./highwater");
        assert_eq!(other.matches("./highwater ").count(), 3);
        assert_eq!(other.matches("--server 127.0.0.1:9999").count(), 3);
        assert!(other.contains("HTTP         127.0.0.1:9998 (/metrics, /readyz)"), "{other}");
        assert!(other.contains("Kafka        127.0.0.1:9999"), "{other}");
        let usual = banner(&reached(7400, None), Path::new("d"), "highwater");
        assert!(usual.contains("HTTP         off") && usual.contains("Kafka        off"), "{usual}");
        assert!(!usual.contains("--server"), "{usual}");
        assert!(usual.contains("acknowledged = fsynced"), "{usual}");
    }

    #[test]
    fn the_commands_of_a_clusters_banner_reach_every_node() {
        let nodes = [1, 2, 3].map(|port| reached(port, Some(port + 10)));
        let text = cluster_banner(&nodes, Path::new("d"), "highwater");
        assert!(text.contains("127.0.0.1:11,127.0.0.1:12,127.0.0.1:13 ("), "{text}");
        assert_eq!(text.matches("--server 127.0.0.1:1,127.0.0.1:2,127.0.0.1:3").count(), 6, "{text}");
        assert!(text.contains("-r 3"), "{text}");
        let named = [21, 22].map(|port| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            Reached { kafka_listeners: [("outside".to_owned(), address)].into(), ..reached(1, Some(port)) }
        });
        let text = cluster_banner(&named, Path::new("d"), "highwater");
        let expected =
            "\n  Kafka        127.0.0.1:22,127.0.0.1:23\n               127.0.0.1:21,127.0.0.1:22 (outside)\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn data_of_another_number_of_nodes_is_refused() {
        let data = tempfile::tempdir().unwrap();
        assert!(check_data(data.path(), 1, 7400).is_ok() && check_data(data.path(), 3, 0).is_ok(), "nothing is there");
        for number in 1..=3 {
            std::fs::create_dir(data.path().join(format!("node-{number}"))).unwrap();
        }
        assert!(check_data(data.path(), 3, 7400).is_ok());
        let refused = check_data(data.path(), 3, 0).unwrap_err().to_string();
        assert!(refused.contains("look for each other") && refused.contains("port 0"), "{refused}");
        for nodes in [1, 5] {
            let refused = check_data(data.path(), nodes, 0).unwrap_err().to_string();
            assert!(refused.contains("3 nodes") && refused.contains("--nodes 3"), "{refused}");
        }
    }
}
