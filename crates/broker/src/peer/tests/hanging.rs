//! A peer that says nothing, without hanging up: it is given up within two seconds.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::rig::{Net, Node, PATIENCE, heartbeat, hello, two};
use crate::clock::Clock;
use crate::peer::{Lane, PeerError, SILENCE_MAX, Timing};

/// How long noticing may take.
const NOTICED: Duration = Duration::from_secs(3);

async fn fails_soon(one: &Node, two: &Node, hang: impl FnOnce()) {
    let bulk = one.peers.send_raft(two.id(), Lane::Bulk, Timing::Now, Bytes::from("hang").into(), PATIENCE);
    let mut answer = bulk.await.unwrap();
    assert_eq!(one.raft(two.id(), Lane::Urgent, "there").await.unwrap(), "there");
    let clock = Clock::system();
    hang();
    let since = clock.instant();
    let lost = timeout(PATIENCE, answer.get()).await.expect("not for ever").unwrap_err();
    assert!(matches!(&lost, PeerError::Lost { reason, .. } if reason.contains("nothing was heard")), "{lost}");
    let took = since.elapsed();
    assert!(took > SILENCE_MAX / 2 && took < NOTICED, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_noticed_over_memory() {
    let net = Net::memory();
    let (one, two) = two(&net).await;
    let Net::Memory(network) = &net else { unreachable!() };
    fails_soon(&one, &two, || network.cut(&one.address, &two.address)).await;
    network.heal_all();
    one.until_answered(two.id()).await;
    // One way is enough: the answers do not come.
    fails_soon(&one, &two, || network.cut_one_way(&two.address, &one.address)).await;
    network.heal_all();
    one.shutdown().await;
    two.shutdown().await;
}

/// Passes bytes on to `to`, as long as it is not told to freeze; and how many connections there were.
async fn freezing_proxy(to: String) -> (SocketAddr, watch::Sender<bool>, watch::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (freeze, frozen) = watch::channel(false);
    let (count, passed) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            count.send_modify(|count| *count += 1);
            let far = TcpStream::connect(&to).await.unwrap();
            let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
            tokio::spawn(pass(from_near, to_far, frozen.clone()));
            tokio::spawn(pass(from_far, to_near, frozen.clone()));
        }
    });
    (address, freeze, passed)
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_connection_is_noticed_over_grpc() {
    let (one, two) = two(&Net::Grpc).await;
    let (address, freeze, mut passed) = freezing_proxy(two.address.clone()).await;
    one.peers.set_addresses([(two.id(), address.to_string())].into());
    timeout(PATIENCE, passed.wait_for(|count| *count > 0)).await.unwrap().unwrap();
    one.until_answered(two.id()).await;
    fails_soon(&one, &two, || {
        freeze.send_replace(true);
    })
    .await;
    freeze.send_replace(false);
    one.until_answered(two.id()).await;
    one.shutdown().await;
    two.shutdown().await;
}

/// Accepts, reads, and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_greet_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let one = Node::start(&Net::Grpc, hello(1, 1, 1), 1).await;
    let clock = Clock::system();
    let since = clock.instant();
    let silent: Instant = since;
    let error = one.peers.ask_address(&address, heartbeat(1)).await.unwrap_err();
    assert!(matches!(error, PeerError::Unreachable { .. }), "{error}");
    assert!(silent.elapsed() < NOTICED);
    one.shutdown().await;
}

/// Something else than a node, on either side of the port between nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_bytes_close_the_connection() {
    let one = Node::start(&Net::Grpc, hello(1, 1, 1), 1).await;
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", &[0xff; 4_096]] {
        let mut stream = TcpStream::connect(&one.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let closed = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "it hangs up");
    }
    let two = Node::start(&Net::Grpc, hello(1, 2, 2), 2).await;
    two.peers.ask_address(&one.address, heartbeat(2)).await.unwrap();
    one.shutdown().await;
    two.shutdown().await;
}
