//! Images are made smaller by five workers. Each image is with one of them at a time; one worker goes home in the middle of
//! it, and what it had in hand goes to the others.
//!
//! `cargo run -p highwater-client --example image_resize`, beside a running `highwater dev`; the server is at
//! HIGHWATER_SERVER or 127.0.0.1:7400. It ends when there is nothing more to do.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use highwater_client::{Client, ErrorCode, NewTopic, Producer, QueueMessage, QueueSettings, QueueStart, Record};

const IMAGES: &str = "images";
const THUMBNAILS: &str = "thumbnails";
const GROUP: &str = "resize";
const WORKERS: usize = 5;
const COUNT: usize = 60;
/// Each side becomes so many times shorter.
const FACTOR: usize = 4;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = std::env::var("HIGHWATER_SERVER").unwrap_or_else(|_| "127.0.0.1:7400".to_owned());
    let client = Client::connect(&server).await?;
    for topic in [IMAGES, THUMBNAILS] {
        match client.admin().create_topic(NewTopic::new(topic).partitions(2)).await {
            Err(error) if error.code() == Some(ErrorCode::TopicExists) => {}
            other => drop(other?),
        }
    }
    client.admin().set_queue(IMAGES, GROUP, QueueSettings::new(), QueueStart::Kept).await?;

    let producer = client.producer().build();
    for number in 0..COUNT {
        let image = Image::painted(64 + number, 48);
        producer.send_and_wait(IMAGES, Record::new(image.to_pgm()).key(format!("image-{number}"))).await?;
    }
    println!("{COUNT} images wait");

    let producer = Arc::new(producer);
    let mut workers = Vec::new();
    for number in 1..=WORKERS {
        let name = format!("worker-{number}");
        let worker = client.worker(IMAGES, GROUP).name(&name).concurrency(2).exit_when_empty(true).build();
        if number == WORKERS {
            let handle = worker.handle();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                handle.stop();
            });
        }
        let producer = Arc::clone(&producer);
        workers.push(tokio::spawn(async move {
            let stats = worker.run(move |message| resize(name.clone(), Arc::clone(&producer), message)).await?;
            Ok::<u64, Failure>(stats.acked)
        }));
    }
    let mut done = 0;
    for (number, worker) in workers.into_iter().enumerate() {
        let acked = worker.await??;
        println!("worker-{} did {acked}", number + 1);
        done += acked;
    }
    println!("{done} images are done");
    Ok(())
}

/// Once in a while an image is handled twice, as after a broken connection: the thumbnail has the key of its image.
async fn resize(name: String, producer: Arc<Producer>, message: QueueMessage) -> Result<(), Failure> {
    let image = Image::from_pgm(message.value()).ok_or("this is no image")?;
    let small = image.smaller();
    // As if it was hard work.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let key = message.record.key.clone().unwrap_or_default();
    producer.send_and_wait(THUMBNAILS, Record::new(small.to_pgm()).key(key)).await?;
    println!("{name}: {}x{} to {}x{}", image.width, image.height, small.width, small.height);
    Ok(())
}

/// A grey image.
struct Image {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Image {
    /// Something to look at.
    fn painted(width: usize, height: usize) -> Self {
        let pixel = |at: usize| u8::try_from((at % width * 3) ^ (at / width * 5) & 0xff).unwrap_or(u8::MAX);
        Self { width, height, pixels: (0..width * height).map(pixel).collect() }
    }

    /// Each pixel is the mean of those that it stands for.
    fn smaller(&self) -> Self {
        let (width, height) = (self.width / FACTOR, self.height / FACTOR);
        let mean = |at: usize| {
            let (left, top) = (at % width * FACTOR, at / width * FACTOR);
            let rows = (top..top + FACTOR).filter_map(|y| self.pixels.get(y * self.width + left..)?.get(..FACTOR));
            let sum: usize = rows.flatten().copied().map(usize::from).sum();
            u8::try_from(sum / (FACTOR * FACTOR)).unwrap_or(u8::MAX)
        };
        Self { width, height, pixels: (0..width * height).map(mean).collect() }
    }

    /// The simplest of all formats: a line of text, then the pixels.
    fn to_pgm(&self) -> Vec<u8> {
        let mut file = format!("P5 {} {} 255\n", self.width, self.height).into_bytes();
        file.extend_from_slice(&self.pixels);
        file
    }

    fn from_pgm(file: &[u8]) -> Option<Self> {
        let end = file.iter().position(|byte| *byte == b'\n')?;
        let mut words = std::str::from_utf8(file.get(..end)?).ok()?.split(' ').skip(1);
        let (width, height) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let pixels = file.get(end + 1..)?.to_vec();
        (width > 0 && pixels.len() == width * height).then_some(Self { width, height, pixels })
    }
}
