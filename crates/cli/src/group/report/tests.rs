//! What people and programs see of groups, word for word.

use super::*;

fn partition(number: u32, current: Option<u64>, lag: Option<(u64, u64)>, member: Option<&str>) -> PartitionRow {
    PartitionRow {
        topic: "orders".into(),
        partition: number,
        current,
        log_start: lag.map(|_| 0),
        log_end: lag.map(|(records, _)| current.unwrap_or_default() + records),
        lag_records: lag.map(|(records, _)| records),
        lag_ms: lag.map(|(_, ms)| ms),
        committed_at_ms: current.map(|_| 1_769_846_400_000),
        metadata: String::new(),
        member: member.map(str::to_owned),
    }
}

fn member(id: &str, host: &str) -> MemberRow {
    let partitions = Vec::new();
    MemberRow { member: id.into(), instance: None, client: "app".into(), host: host.into(), partitions }
}

fn billing(partitions: Vec<PartitionRow>, members: Vec<MemberRow>) -> Description {
    Description {
        group: "billing".into(),
        state: "stable",
        kind: "highwater".into(),
        generation: 7,
        assignor: "cooperative-sticky".into(),
        coordinator: 2,
        total: partitions.iter().map(|row| (row.lag_records, row.lag_ms)).collect(),
        members,
        partitions,
    }
}

#[test]
fn the_table_of_groups_has_a_line_a_group() {
    let row = |group: &str, state, kind: &str, members| {
        let (group, kind) = (group.to_owned(), kind.to_owned());
        GroupRow { group, state, kind, members, coordinator: 1 }
    };
    let groups = Groups(vec![row("billing", "stable", "highwater", 3), row("nightly", "empty", "", 0)]);
    let table = "\
GROUP    STATE   KIND       MEMBERS  COORDINATOR
billing  stable  highwater  3        1
nightly  empty   -          0        1
";
    assert_eq!(groups.table(), table);
    let json = serde_json::to_string(&Groups(vec![row("billing", "stable", "highwater", 3)])).unwrap();
    assert_eq!(json, r#"[{"group":"billing","state":"stable","kind":"highwater","members":3,"coordinator":1}]"#);
}

#[test]
fn a_group_shows_its_lag_and_who_reads_what() {
    let partitions = vec![
        partition(0, Some(120), Some((30, 192_000)), Some("app-1")),
        partition(1, Some(80), Some((0, 0)), Some("app-2")),
        partition(2, None, None, None),
    ];
    let members = vec![member("app-1", "10.0.0.5"), member("app-2", ""), member("app-3", "10.0.0.7")];
    let shown = "\
group        billing
state        stable
generation   7
assignor     cooperative-sticky
coordinator  node 2

TOPIC   PARTITION  CURRENT  END  LAG  LAG TIME  MEMBER  HOST
orders  0          120      150  30   3m 12s    app-1   10.0.0.5
orders  1          80       80   0    0s        app-2   -
orders  2          -        -    -    -         -       -
-       -          -        -    -    -         app-3   10.0.0.7

total        at least 30 records behind, oldest unread 3m 12s old; 1 partition not known
";
    assert_eq!(billing(partitions, members).table(), shown);
}

#[test]
fn a_group_without_anything_says_so() {
    let shown = billing(Vec::new(), Vec::new()).table();
    assert!(shown.ends_with("\n\nit has no members and no offsets\n\ntotal        0 records behind\n"), "{shown}");
}

#[test]
fn programs_get_all_of_it() {
    let found = billing(vec![partition(0, Some(5), Some((2, 70)), Some("app-1"))], vec![member("app-1", "h")]);
    let json = concat!(
        r#"{"group":"billing","state":"stable","kind":"highwater","generation":7,"assignor":"cooperative-sticky","#,
        r#""coordinator":2,"total":{"lag_records":2,"lag_ms":70,"unknown_partitions":0},"#,
        r#""members":[{"member":"app-1","instance":null,"client":"app","host":"h","partitions":[]}],"#,
        r#""partitions":[{"topic":"orders","partition":0,"current":5,"log_start":0,"log_end":7,"lag_records":2,"#,
        r#""lag_ms":70,"committed_at_ms":1769846400000,"metadata":"","member":"app-1"}]}"#,
    );
    assert_eq!(serde_json::to_string(&found).unwrap(), json);
}
