//! Settings as a user gives them: order of the sources, refusals and their texts, the sample file.
#![allow(clippy::disallowed_methods, reason = "the files that a user would write")]

use super::*;

fn from_file(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("highwater.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&Sources { file: Some(path), ..Sources::default() })
}

fn message(result: Result<Config, ConfigError>) -> String {
    result.expect_err("it should be refused").to_string()
}

fn setting(config: &Config, key: &str) -> (String, String) {
    let setting = config.settings().find(|setting| setting.key == key).unwrap();
    (setting.value.clone(), setting.source.clone())
}

#[test]
fn defaults_are_whole_and_in_range() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(config.grpc.listen, "127.0.0.1:7400".parse().unwrap());
    assert_eq!(config.http.listen, Some("127.0.0.1:7480".parse().unwrap()));
    assert_eq!(config.kafka.listen, Some("127.0.0.1:9092".parse().unwrap()));
    assert_eq!((config.topic.default_partitions, config.topic.default_replicas), (1, 3));
    let limits = &config.limits;
    let shares = limits.produce_in_flight_bytes + limits.read_decoded_bytes + limits.receive_window_bytes;
    assert!(shares <= limits.memory_bytes, "{limits:?}");
    assert_eq!(config.settings().count(), OPTIONS.len());
    assert!(config.settings().all(|setting| setting.source == "default"));
}

#[test]
fn flags_before_environment_before_file_before_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    std::fs::write(&path, "[limits]\nconnections = 1\nstreams_per_connection = 1\nmessage_timeout = '1s'").unwrap();
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let sources = Sources {
        file: Some(path.clone()),
        environment: vec![
            variable("HIGHWATER_LIMITS__STREAMS_PER_CONNECTION", "2"),
            variable("HIGHWATER_LIMITS__MESSAGE_TIMEOUT", "2s"),
            variable("HIGHWATER_SERVER", "127.0.0.1:1"),
            variable("HIGHWATER_SERVICE_HOST", "10.0.0.1"),
            variable("PATH", "/bin"),
        ],
        ..Sources::default()
    };
    let config = Config::load(&sources.with_flag("--message-timeout", "limits.message_timeout", "3s")).unwrap();
    assert_eq!(config.limits.connections, 1);
    assert_eq!(config.limits.streams_per_connection, 2);
    assert_eq!(config.limits.message_timeout, Duration::from_secs(3));
    let of = |value: &str, source: &str| (value.to_owned(), source.to_owned());
    assert_eq!(setting(&config, "limits.connections"), of("1", &format!("file {}", path.display())));
    let variable = "environment variable HIGHWATER_LIMITS__STREAMS_PER_CONNECTION";
    assert_eq!(setting(&config, "limits.streams_per_connection"), of("2", variable));
    assert_eq!(setting(&config, "limits.message_timeout"), of("\"3s\"", "flag --message-timeout"));
    assert_eq!(setting(&config, "node.shutdown_grace"), of("\"20s\"", "default"));
}

#[test]
fn an_unknown_key_is_refused_with_the_known_ones() {
    let text = message(from_file("[grpc]\nport = 7400"));
    assert!(text.contains("'grpc.port'") && text.contains("highwater.toml"), "{text}");
    assert!(OPTIONS.iter().all(|option| text.contains(option.key)), "{text}");
    assert!(message(from_file("[node]\nlisten = '127.0.0.1:1'")).contains("did you mean 'grpc.listen'?"));
    assert!(message(from_file("data = 'here'")).contains("unknown setting 'data'"));
    let flag = Sources::default().with_flag("--set", "data.segments", "3");
    assert!(message(Config::load(&flag)).contains("'data.segments' from flag --set"));
}

#[test]
fn a_variable_that_lacks_an_underscore_is_refused() {
    let environment = vec![("HIGHWATER_GRPC_LISTEN".to_owned(), "127.0.0.1:1".to_owned())];
    let text = message(Config::load(&Sources { environment, ..Sources::default() }));
    assert!(text.contains("HIGHWATER_GRPC__LISTEN"), "{text}");
}

#[test]
fn a_refusal_names_key_value_source_and_what_is_allowed() {
    let text = message(from_file("[data]\nfree_bytes_min = '1KiB'"));
    assert!(text.starts_with("data.free_bytes_min = \"1KiB\" from file "), "{text}");
    assert!(text.ends_with("must be from 16MiB to 1024TiB"), "{text}");
    let text = message(from_file("[node]\nshutdown_grace = 5"));
    assert!(text.starts_with("node.shutdown_grace = 5 from file ") && text.contains("such as 500ms, 5s"), "{text}");
    let text = message(from_file("[logging]\nformat = 'xml'"));
    assert!(text.contains("logging.format = \"xml\"") && text.contains("human") && text.contains("json"), "{text}");
    let text = message(from_file("[limits]\nproduce_in_flight_bytes = '1MiB'"));
    assert!(text.contains("must be from 32MiB"), "{text}");
    assert!(message(from_file("[grpc\nlisten")).contains("is not TOML"));
    let missing = Sources { file: Some("/nowhere/h.toml".into()), ..Sources::default() };
    assert!(message(Config::load(&missing)).contains("/nowhere/h.toml"));
}

#[test]
fn a_port_that_others_reach_needs_a_word() {
    let text = message(from_file("[grpc]\nlisten = '192.0.2.1:7400'"));
    assert!(text.contains("authentication") && text.contains("grpc.allow_insecure_network = true"), "{text}");
    let text = message(from_file("[grpc]\nlisten = '0.0.0.0:7400'\nallow_insecure_network = true"));
    assert!(text.contains("node.advertised"), "{text}");
    let open =
        "[grpc]\nlisten = '0.0.0.0:7400'\nallow_insecure_network = true\n[node]\nadvertised = 'log1.example:7400'";
    let config = from_file(open).unwrap();
    assert_eq!(config.node.advertised.as_deref(), Some("log1.example:7400"));
    assert!(message(from_file("[node]\nadvertised = 'log1'")).contains("HOST:PORT"));
    assert!(from_file("[grpc]\nlisten = '[::1]:0'").is_ok());
}

#[test]
fn the_http_front_is_switched_off_by_an_empty_address() {
    assert_eq!(from_file("[http]\nlisten = ''").unwrap().http.listen, None);
    let environment = vec![("HIGHWATER_HTTP__LISTEN".to_owned(), String::new())];
    let of_variable = Config::load(&Sources { environment, ..Sources::default() }).unwrap();
    assert_eq!(of_variable.http.listen, None);
    assert_eq!(setting(&of_variable, "http.listen").0, "\"\"");
    let of_flag = Config::load(&Sources::default().with_flag("--http-listen", "http.listen", "")).unwrap();
    assert_eq!(of_flag.http.listen, None);
    let text = message(from_file("[http]\nlisten = '0.0.0.0:7480'"));
    assert!(text.contains("http.allow_insecure_network = true"), "{text}");
    assert!(from_file("[http]\nlisten = '0.0.0.0:7480'\nallow_insecure_network = true").is_ok());
    assert!(message(from_file("[http]\nlisten = '7480'")).contains("http.listen = \"7480\""));
}

#[test]
fn the_kafka_front_is_switched_off_by_an_empty_address_and_needs_one_that_can_be_told() {
    assert_eq!(from_file("[kafka]\nlisten = ''").unwrap().kafka.listen, None);
    let open = "[kafka]\nlisten = '0.0.0.0:9092'\nallow_insecure_network = true\n";
    assert!(message(from_file("[kafka]\nlisten = '0.0.0.0:9092'")).contains("kafka.allow_insecure_network = true"));
    assert!(message(from_file(open)).contains("kafka.advertised"));
    let told = from_file(&format!("{open}advertised = 'log1.example:9092'")).unwrap();
    assert_eq!(told.kafka.advertised.as_deref(), Some("log1.example:9092"));
}

#[test]
fn kafka_listeners_have_names_of_their_own_and_an_address_that_can_be_told() {
    let of = |lists: &str| from_file(&format!("[kafka]\nallow_insecure_network = true\n{lists}"));
    let both = "listeners = ['out://0.0.0.0:9094', 'in://127.0.0.1:9095']\nadvertised_listeners = ['out://log1.example:19094']";
    let listener = |name: &str, listen: &str, advertised: Option<&str>| KafkaListener {
        name: name.to_owned(),
        listen: listen.parse().unwrap(),
        advertised: advertised.map(str::to_owned),
    };
    let due = [listener("in", "127.0.0.1:9095", None), listener("out", "0.0.0.0:9094", Some("log1.example:19094"))];
    assert_eq!(of(both).unwrap().kafka.listeners, due);
    let key = "kafka.listeners";
    for wrong in
        ["'9094'", "'out://9094'", "'://127.0.0.1:9094'", "'o/t://127.0.0.1:1'", "'a://[::1]:1', 'a://[::1]:2'"]
    {
        let text = message(of(&format!("listeners = [{wrong}]")));
        assert!(text.contains(key) && text.contains("NAME://IP:PORT"), "{text}");
    }
    let text = message(of("listeners = ['out://0.0.0.0:9094']"));
    assert!(text.contains("kafka.advertised_listeners") && text.contains("names each listener"), "{text}");
    let text = message(of("advertised_listeners = ['out://log1.example:9094']"));
    assert!(text.contains("kafka.advertised_listeners") && text.contains("each one of kafka.listeners"), "{text}");
    let text = message(from_file("[kafka]\nlisteners = ['out://10.0.0.1:9094']"));
    assert!(
        text.contains("kafka.listeners = 10.0.0.1:9094") && text.contains("kafka.allow_insecure_network"),
        "{text}"
    );
    let text = message(from_file("[kafka]\nlisten = ''\nlisteners = ['out://127.0.0.1:9094']"));
    assert!(text.contains("empty while kafka.listen is"), "{text}");
}

#[test]
fn the_nodes_of_a_cluster_are_lists() {
    let of_file = from_file("[cluster]\nfirst_voters = ['a:7401', 'b:7401', 'c:7401']").unwrap();
    let environment = vec![("HIGHWATER_CLUSTER__FIRST_VOTERS".to_owned(), "a:7401, b:7401,c:7401".to_owned())];
    let of_variable = Config::load(&Sources { environment, ..Sources::default() }).unwrap();
    assert_eq!(of_file.cluster.first_voters, ["a:7401", "b:7401", "c:7401"]);
    assert_eq!(of_variable.cluster.first_voters, of_file.cluster.first_voters);
    let one = Config::load(&Sources::default().with_flag("--join", "cluster.join", "127.0.0.1:7401")).unwrap();
    assert_eq!(one.cluster.join, ["127.0.0.1:7401"]);
    assert!(Config::load(&Sources::default()).unwrap().cluster.first_voters.is_empty());
    let text = message(from_file("[cluster]\nfirst_voters = ['a:1', 'b:1']"));
    assert!(text.contains("1, 3 or 5") && text.contains("[\"a:1\", \"b:1\"]"), "{text}");
    assert!(message(from_file("[cluster]\nfirst_voters = ['a:1', 'b:1', 'a:1']")).contains("different"));
    assert!(message(from_file("[cluster]\njoin = ['a']")).contains("HOST:PORT"));
    assert!(message(from_file("[cluster]\njoin = 'a:1'\nfirst_voters = 'b:1'")).contains("unset one of them"));
    let open = "[cluster]\nlisten = '0.0.0.0:7401'";
    assert!(message(from_file(open)).contains("cluster.allow_insecure_network = true"));
    let text = message(from_file(&format!("{open}\nallow_insecure_network = true")));
    assert!(text.contains("cluster.advertised"), "{text}");
}

#[test]
fn a_verb_may_have_another_default() {
    let preset = || Sources::default().with_preset("dev", "cluster.listen", "127.0.0.1:0");
    let config = Config::load(&preset()).unwrap();
    assert_eq!(config.cluster.listen.port(), 0);
    assert_eq!(setting(&config, "cluster.listen").1, "default of dev");
    let environment = vec![("HIGHWATER_CLUSTER__LISTEN".to_owned(), "127.0.0.1:7411".to_owned())];
    assert_eq!(Config::load(&Sources { environment, ..preset() }).unwrap().cluster.listen.port(), 7_411);
}

#[test]
fn the_sample_file_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/highwater.toml");
    if std::env::var_os("HIGHWATER_UPDATE").is_some() {
        std::fs::write(path, sample()).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert_eq!(kept, sample(), "write it anew: HIGHWATER_UPDATE=1 cargo test -p highwater-broker the_sample_file");
    // With every line uncommented it is a file, and changes nothing.
    let is_setting = |line: &str| OPTIONS.iter().any(|option| line.starts_with(&format!("# {} = ", option.name)));
    let lines = kept.lines().map(|line| if is_setting(line) { line.trim_start_matches("# ") } else { line });
    let config = from_file(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    let default = Config::load(&Sources::default()).unwrap();
    let values = |config: &Config| config.settings().map(|setting| setting.value.clone()).collect::<Vec<_>>();
    assert_eq!(values(&config), values(&default));
    assert!(config.settings().all(|setting| setting.source.starts_with("file ")));
}
