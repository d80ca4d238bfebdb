//! Settings of topics, changed both ways.

use highwater_broker::front::kafka::api::Api;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource as Whole, AlterableConfig as Setting};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as Part, AlterableConfig as Step,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, CreateTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::harness::{Client, Fixture, text};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn texts(value: Option<&str>) -> Option<StrBytes> {
    value.map(text)
}

fn whole(kind: i8, name: &str, settings: &[(&str, Option<&str>)]) -> Whole {
    let setting =
        |(name, value): &(&str, Option<&str>)| Setting::default().with_name(text(name)).with_value(texts(*value));
    let settings = settings.iter().map(setting).collect();
    Whole::default().with_resource_type(kind).with_resource_name(text(name)).with_configs(settings)
}

fn part(kind: i8, name: &str, steps: &[(&str, i8, Option<&str>)]) -> Part {
    let step = |(name, operation, value): &(&str, i8, Option<&str>)| {
        Step::default().with_name(text(name)).with_config_operation(*operation).with_value(texts(*value))
    };
    let steps = steps.iter().map(step).collect();
    Part::default().with_resource_type(kind).with_resource_name(text(name)).with_configs(steps)
}

/// The code and the words for each resource.
type Told = Vec<(i16, String)>;

fn alter(client: &mut Client, version: i16, is_validate_only: bool, resources: Vec<Whole>) -> Told {
    let request = AlterConfigsRequest::default().with_resources(resources).with_validate_only(is_validate_only);
    let answer = client.call(version, &request);
    let words = |message: Option<StrBytes>| message.map(|message| message.to_string()).unwrap_or_default();
    answer.responses.into_iter().map(|told| (told.error_code, words(told.error_message))).collect()
}

fn adjust(client: &mut Client, version: i16, is_validate_only: bool, resources: Vec<Part>) -> Told {
    let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
    let answer = client.call(version, &request.with_validate_only(is_validate_only));
    let words = |message: Option<StrBytes>| message.map(|message| message.to_string()).unwrap_or_default();
    answer.responses.into_iter().map(|told| (told.error_code, words(told.error_message))).collect()
}

/// What a topic sets itself.
fn settings(client: &mut Client, topic: &str) -> Vec<(String, String)> {
    let asked = DescribeConfigsResource::default().with_resource_type(TOPIC).with_resource_name(text(topic));
    let asked = asked.with_configuration_keys(None);
    let answer = client.call(4, &DescribeConfigsRequest::default().with_resources(vec![asked]));
    assert_eq!(answer.results[0].error_code, 0);
    let own = answer.results[0].configs.iter().filter(|config| config.config_source == 1);
    own.map(|config| (config.name.to_string(), config.value.clone().unwrap().to_string())).collect()
}

fn pairs(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn create(client: &mut Client, name: &str) {
    let topic = CreatableTopic::default().with_name(TopicName(text(name)));
    let topic = topic.with_num_partitions(1).with_replication_factor(1);
    let made = client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
    assert_eq!(made.topics[0].error_code, 0);
}

/// Asks one API in one version, about a topic of its own.
pub(crate) fn ask(client: &mut Client, api: Api, version: i16) {
    let name = format!("{}-{version}", api.name());
    create(client, &name);
    let told = match api {
        Api::AlterConfigs => {
            let topic = whole(TOPIC, &name, &[("retention.ms", Some("30d"))]);
            alter(client, version, false, vec![topic, whole(TOPIC, "absent", &[])])
        }
        Api::IncrementalAlterConfigs => {
            let topic = part(TOPIC, &name, &[("retention.ms", SET, Some("30d"))]);
            adjust(client, version, false, vec![topic, part(TOPIC, "absent", &[])])
        }
        other => panic!("{} is not about settings", other.name()),
    };
    assert_eq!(told.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [0, 3], "version {version}");
    assert_eq!(settings(client, &name), pairs(&[("retention.ms", "2592000000")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_settings_are_given_at_once() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        create(&mut client, "t");
        let both = [("segment.bytes", Some("1048576")), ("retention.ms", Some("1h"))];
        assert_eq!(alter(&mut client, 2, true, vec![whole(TOPIC, "t", &both)])[0].0, 0);
        assert_eq!(settings(&mut client, "t"), [], "it was only checked");
        assert_eq!(alter(&mut client, 2, false, vec![whole(TOPIC, "t", &both)])[0].0, 0);
        assert_eq!(settings(&mut client, "t"), pairs(&[("retention.ms", "3600000"), ("segment.bytes", "1048576")]));
        // What is not named goes back to its default.
        assert_eq!(alter(&mut client, 0, false, vec![whole(TOPIC, "t", &[("retention.ms", Some("-1"))])])[0].0, 0);
        assert_eq!(settings(&mut client, "t"), pairs(&[("retention.ms", "-1")]));
        assert_eq!(alter(&mut client, 1, false, vec![whole(TOPIC, "t", &[])])[0].0, 0);
        assert_eq!(settings(&mut client, "t"), []);
        let refused = [
            (whole(TOPIC, "t", &[("cleanup.policy", Some("compact"))]), 40, "'cleanup.policy'"),
            (whole(TOPIC, "t", &[("retention.ms", Some("soon"))]), 40, "'soon'"),
            (whole(TOPIC, "t", &[("segment.bytes", Some("1"))]), 40, "segment.bytes"),
            (whole(TOPIC, "t", &[("retention.ms", None)]), 42, "'retention.ms'"),
            (whole(TOPIC, "t", &[("segment.ms", Some("1d")), ("segment.ms", Some("2d"))]), 42, "'segment.ms'"),
            (whole(TOPIC, "absent", &[]), 3, "'absent'"),
            (whole(TOPIC, "__groups", &[]), 17, "__groups"),
            (whole(TOPIC, "no/name", &[]), 17, ""),
            (whole(BROKER, "1", &[]), 42, "file"),
            (whole(32, "group", &[]), 42, "type 32"),
        ];
        for (resource, code, words) in refused {
            for is_validate_only in [true, false] {
                let told = alter(&mut client, 2, is_validate_only, vec![resource.clone()]);
                assert_eq!(told[0].0, code, "{told:?}");
                assert!(told[0].1.contains(words), "{told:?}");
            }
        }
        let twice = vec![whole(TOPIC, "t", &both), whole(TOPIC, "t", &[])];
        assert!(alter(&mut client, 2, false, twice).iter().all(|(code, _)| *code == 42));
        assert_eq!(settings(&mut client, "t"), []);
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_settings_are_changed_and_the_others_stay() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        create(&mut client, "t");
        create(&mut client, "u");
        let first = [("segment.bytes", SET, Some("2MiB")), ("retention.ms", SET, Some("1h"))];
        assert_eq!(adjust(&mut client, 1, true, vec![part(TOPIC, "t", &first)])[0].0, 0);
        assert_eq!(settings(&mut client, "t"), [], "it was only checked");
        // One that is refused keeps no other back.
        let resources = vec![
            part(TOPIC, "u", &[("retention.ms", SET, Some("1h")), ("no.such", SET, Some("1"))]),
            part(TOPIC, "t", &first),
        ];
        let told = adjust(&mut client, 1, false, resources);
        assert_eq!((told[0].0, told[1].0), (40, 0));
        assert!(told[0].1.contains("'no.such'"), "{told:?}");
        assert_eq!(settings(&mut client, "u"), [], "all of one resource or nothing");
        let second = [("segment.bytes", DELETE, None), ("retention.bytes", SET, Some("1GiB"))];
        assert_eq!(adjust(&mut client, 0, false, vec![part(TOPIC, "t", &second)])[0].0, 0);
        let left = pairs(&[("retention.bytes", "1073741824"), ("retention.ms", "3600000")]);
        assert_eq!(settings(&mut client, "t"), left);
        let refused = [
            (part(TOPIC, "t", &[("retention.ms", APPEND, Some("1"))]), 40, "'retention.ms'"),
            (part(TOPIC, "t", &[("retention.ms", SUBTRACT, Some("1"))]), 40, "'retention.ms'"),
            (part(TOPIC, "t", &[("retention.ms", 9, Some("1"))]), 42, "operation 9"),
            (part(TOPIC, "t", &[("retention.ms", SET, None)]), 42, "'retention.ms'"),
            (part(TOPIC, "t", &[("no.such", DELETE, None)]), 40, "'no.such'"),
            (part(TOPIC, "t", &[("retention.ms", DELETE, None), ("retention.ms", SET, Some("1"))]), 42, "once"),
            (part(BROKER, "", &[("retention.ms", SET, Some("1"))]), 42, "file"),
        ];
        for (resource, code, words) in refused {
            let told = adjust(&mut client, 1, false, vec![resource]);
            assert_eq!(told[0].0, code, "{told:?}");
            assert!(told[0].1.contains(words), "{told:?}");
        }
        assert_eq!(settings(&mut client, "t"), left);
    };
    fixture.client(run).await;
}
