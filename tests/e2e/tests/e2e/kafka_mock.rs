//! `berth run` with the KAFKA listener, against librdkafka's test cluster: its protocol, over TCP, with several
//! brokers and partitions, and faults that a test injects.
//!
//! The cluster supports neither TLS nor SASL. [`crate::kafka`] tests these, and credentials that expire.
//!
//! librdkafka is compiled only for these tests: run them with `cargo xtask test --kafka`, or with
//! `--features berth-e2e/mock-kafka`.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

mod gate;

use std::{cell::Cell, time::Duration};

use berth_e2e::World;
use port_stand_in::ORGANIZATION;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    mocking::{MockCluster, MockCoordinator},
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use serde_json::{Value, json};

use crate::service::{INTEGRATION, Service, listen, reported, wait_for};

/// The group where brokers ask nobody who they are.
const GROUP: &str = "no-security";
const PARTITIONS: i32 = 2;

/// The newest forms of requests that the cluster reads as the protocol wants; it says that it knows newer.
const KNOWN: [(RDKafkaApiKey, i16); 7] = [
    (RDKafkaApiKey::FindCoordinator, 2),
    (RDKafkaApiKey::JoinGroup, 5),
    (RDKafkaApiKey::SyncGroup, 3),
    (RDKafkaApiKey::Heartbeat, 3),
    (RDKafkaApiKey::LeaveGroup, 3),
    (RDKafkaApiKey::OffsetCommit, 7),
    (RDKafkaApiKey::OffsetFetch, 5),
];

/// Brokers, and a topic with two partitions that each have a leader of their own.
struct Cluster {
    cluster: MockCluster<'static, DefaultProducerContext>,
    /// Where Berth reaches the brokers.
    gates: String,
    topic: String,
    /// How many messages there are.
    sent: Cell<i64>,
}

impl Cluster {
    fn start(brokers: i32) -> Self {
        let cluster = MockCluster::new(brokers).expect("the cluster starts");
        let topic = format!("{ORGANIZATION}.change.log");
        cluster.create_topic(&topic, PARTITIONS, brokers).expect("a topic");
        for partition in 0..PARTITIONS {
            cluster.partition_leader(&topic, partition, Some(1 + partition % brokers)).expect("a leader");
        }
        cluster.coordinator(MockCoordinator::Group(GROUP.into()), 1).expect("a coordinator");
        for (request, newest) in KNOWN {
            cluster.apiversion(request, Some(0), Some(newest)).expect("a range of versions");
        }
        let brokers = cluster.bootstrap_servers();
        Self { cluster, gates: gate::gates(&brokers), topic, sent: Cell::new(0) }
    }

    /// Sends a message into a partition; it is there when this returns.
    fn send(&self, partition: i32, message: &Value) {
        // A new one each time: what was connected to a broker that went away takes its time.
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap_servers());
        let producer: BaseProducer = config.create().expect("a producer");
        let text = message.to_string();
        let record = BaseRecord::<(), _>::to(&self.topic).partition(partition).payload(&text);
        producer.send(record).expect("a message");
        producer.flush(Duration::from_mins(1)).expect("the message arrives");
        self.sent.set(self.sent.get() + 1);
    }

    /// How many messages the group has confirmed, of all partitions.
    fn confirmed(&self) -> i64 {
        let consumer = self.consumer();
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_range(&self.topic, 0, PARTITIONS - 1);
        let found = consumer.committed_offsets(partitions, Duration::from_secs(10));
        let offsets = found.map(|found| {
            let offset = |offset| if let Offset::Offset(offset) = offset { offset } else { 0 };
            found.elements().iter().map(|element| offset(element.offset())).sum()
        });
        offsets.unwrap_or(0)
    }

    /// A member of Berth's group, once it subscribes.
    fn consumer(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", GROUP)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer")
    }

    /// Answers the next requests of a kind with these errors.
    fn fails(&self, request: RDKafkaApiKey, errors: &[RDKafkaRespErr]) {
        self.cluster.request_errors(request, errors);
    }
}

/// A world whose Port announces resync requests over these brokers, and its service once it listens.
fn serving(cluster: &Cluster) -> (World, Service) {
    let mut world = World::with_accounts(1).buckets(1).build();
    let brokers = json!(cluster.gates.split(',').collect::<Vec<_>>()).to_string();
    let settings = json!({"type": "KAFKA", "brokers": brokers, "kafkaSecurityEnabled": false});
    listen(&mut world, &settings);
    let service = Service::start(&world);
    wait_for("the first resync", || json!(reported(&world)) == done(1));
    // Heard from when the group has let it in, which nobody else is told.
    wait_for("a message that is heard", || {
        cluster.send(0, &json!({}));
        cluster.confirmed() > 0
    });
    all_confirmed(cluster);
    (world, service)
}

/// The button in Port.
fn request() -> Value {
    json!({"action": "RESYNC", "context": {"integrationId": INTEGRATION}})
}

fn done(times: usize) -> Value {
    json!(["running", "completed"].repeat(times))
}

/// Presses the button, and waits until so many resyncs were run and all messages are confirmed.
fn served(cluster: &Cluster, world: &World, partition: i32, resyncs: usize) {
    cluster.send(partition, &request());
    wait_for("the resync", || json!(reported(world)) == done(resyncs));
    all_confirmed(cluster);
}

fn all_confirmed(cluster: &Cluster) {
    wait_for("the confirmation of all messages", || cluster.confirmed() == cluster.sent.get());
}

#[test]
fn a_request_in_any_partition_is_served_once() {
    let cluster = Cluster::start(2);
    let (world, service) = serving(&cluster);
    assert_eq!(world.entities(), world.expected());
    served(&cluster, &world, 0, 2);
    served(&cluster, &world, 1, 3);
    cluster.send(0, &json!({"action": "RESYNC", "context": {"integrationId": "another"}}));
    all_confirmed(&cluster);
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(json!(reported(&world)), done(3), "{log}");
}

#[test]
#[ignore = "on a busy machine the cluster's rebalance may take minutes: run it alone"]
fn a_second_consumer_takes_its_share_and_gives_it_back() {
    let cluster = Cluster::start(2);
    let (world, service) = serving(&cluster);
    let second = cluster.consumer();
    second.subscribe(&[&cluster.topic]).expect("a subscription");
    let share = || second.assignment().expect("an assignment").count();
    wait_for("its share", || {
        _ = second.poll(Duration::from_millis(100));
        share() == 1
    });
    let theirs = second.assignment().expect("an assignment").elements()[0].partition();
    let ours = 1 - theirs;
    served(&cluster, &world, ours, 2);
    cluster.send(theirs, &request());
    wait_for("their message", || second.poll(Duration::from_millis(100)).is_some());
    assert_eq!(json!(reported(&world)), done(2), "one of the group gets it");

    // It leaves without confirming what it got.
    drop(second);
    wait_for("the message that nobody confirmed", || json!(reported(&world)) == done(3));
    served(&cluster, &world, theirs, 4);
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("another instance is running"), "{log}");
}

#[test]
fn brokers_that_go_and_come_end_nothing_and_lose_nothing() {
    let cluster = Cluster::start(2);
    let (world, service) = serving(&cluster);
    served(&cluster, &world, 0, 2);
    // One of two, which is the coordinator and a leader; and all of them.
    for (round, brokers) in [&[1][..], &[2], &[1, 2]].into_iter().enumerate() {
        for broker in brokers {
            cluster.cluster.broker_down(*broker).expect("a broker");
        }
        std::thread::sleep(Duration::from_secs(3));
        for broker in brokers {
            cluster.cluster.broker_up(*broker).expect("a broker");
        }
        let before = 2 + 2 * round;
        served(&cluster, &world, 0, before + 1);
        served(&cluster, &world, 1, before + 2);
    }
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_partition_and_a_group_that_move_to_another_broker_are_followed() {
    let cluster = Cluster::start(2);
    let (world, service) = serving(&cluster);
    served(&cluster, &world, 0, 2);
    cluster.cluster.partition_leader(&cluster.topic, 0, Some(2)).expect("a leader");
    served(&cluster, &world, 0, 3);
    cluster.cluster.coordinator(MockCoordinator::Group(GROUP.into()), 2).expect("a coordinator");
    served(&cluster, &world, 0, 4);
    served(&cluster, &world, 1, 5);
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn errors_of_brokers_that_pass_are_got_over() {
    use RDKafkaApiKey as Key;
    use RDKafkaRespErr as Error;
    let cluster = Cluster::start(1);
    let (world, service) = serving(&cluster);
    served(&cluster, &world, 0, 2);
    let faults: [(Key, Error); 8] = [
        (Key::Fetch, Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
        (Key::Fetch, Error::RD_KAFKA_RESP_ERR_UNKNOWN),
        (Key::Heartbeat, Error::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS),
        (Key::Heartbeat, Error::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION),
        (Key::Heartbeat, Error::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID),
        (Key::Heartbeat, Error::RD_KAFKA_RESP_ERR_NOT_COORDINATOR),
        (Key::OffsetCommit, Error::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS),
        (Key::Metadata, Error::RD_KAFKA_RESP_ERR_UNKNOWN),
    ];
    for (round, (request, error)) in faults.into_iter().enumerate() {
        cluster.fails(request, &[error]);
        // A heartbeat, and what follows from its answer.
        std::thread::sleep(Duration::from_secs(4));
        served(&cluster, &world, 0, 3 + round);
    }
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_group_that_cannot_be_joined_at_first_is_joined_later() {
    use RDKafkaApiKey as Key;
    use RDKafkaRespErr as Error;
    let cluster = Cluster::start(1);
    cluster.fails(Key::FindCoordinator, &[Error::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; 2]);
    cluster.fails(Key::JoinGroup, &[Error::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 2]);
    cluster.fails(Key::SyncGroup, &[Error::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]);
    cluster.fails(Key::OffsetFetch, &[Error::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS]);
    cluster.fails(Key::ListOffsets, &[Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION]);
    let (world, service) = serving(&cluster);
    served(&cluster, &world, 0, 2);
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
}
