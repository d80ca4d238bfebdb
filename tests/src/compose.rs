//! Three nodes in containers, as `deploy/docker-compose.yml` starts them: disconnected from their network, killed, started
//! again.
//!
//! Owns: a project of its own name, with fixed addresses on a network of its own, so that this machine reaches each node
//! where it says that it is.
//!
//! Invariant: what it made is gone when it goes out of scope: containers, volumes, network.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The variables of `deploy/docker-compose.yml` for the ports that are published on this machine.
pub const PORT_VARIABLES: [&str; 9] = [
    "HIGHWATER_PORT_1",
    "HIGHWATER_PORT_2",
    "HIGHWATER_PORT_3",
    "HIGHWATER_HTTP_PORT_1",
    "HIGHWATER_HTTP_PORT_2",
    "HIGHWATER_HTTP_PORT_3",
    "HIGHWATER_KAFKA_PORT_1",
    "HIGHWATER_KAFKA_PORT_2",
    "HIGHWATER_KAFKA_PORT_3",
];

/// See the module's documentation.
#[derive(Debug)]
pub struct Compose {
    project: String,
    image: String,
    subnet: String,
    /// What `PORT_VARIABLES` are set to.
    ports: [u16; PORT_VARIABLES.len()],
    folder: tempfile::TempDir,
}

/// The root of the tree.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Whether there are Docker and docker-compose here.
///
/// # Errors
/// What is missing.
pub fn available() -> Result<(), String> {
    for (program, argument) in [("docker", "info"), ("docker-compose", "version")] {
        match Command::new(program).arg(argument).output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => return Err(format!("{program}: {error}")),
        }
    }
    Ok(())
}

/// The image under test: built now from this tree by `deploy/image`, unless `HIGHWATER_IMAGE` names one.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn image() -> String {
    if let Ok(image) = std::env::var("HIGHWATER_IMAGE") {
        return image;
    }
    let image = "highwater-test".to_owned();
    let mut build = Command::new(root().join("deploy/image"));
    // What is tested is the same; what is built takes minutes less.
    build.arg(&image).env("HIGHWATER_PROFILE", "dev").env("CARGO", env!("CARGO")).current_dir(root());
    let built = build.output().expect("deploy/image runs");
    assert!(built.status.success(), "deploy/image: {}", String::from_utf8_lossy(&built.stderr));
    image
}

impl Compose {
    /// A project whose containers are not started yet.
    ///
    /// # Panics
    /// When its files cannot be written.
    #[must_use]
    pub fn new(image: &str) -> Self {
        let number = std::process::id();
        // A network of 256 addresses among those for private use; seldom two runs get the same.
        let subnet = format!("10.{}.{}", 200 + number % 50, number / 50 % 256);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut text =
            format!("networks:\n  default:\n    ipam:\n      config: [{{subnet: {subnet}.0/24}}]\nservices:\n");
        for node in 1..=3 {
            let address = format!("{subnet}.{}", 10 + node);
            text.push_str(&format!(
                "  node-{node}:\n    restart: \"no\"\n    networks: {{default: {{ipv4_address: {address}}}}}\n    \
                 environment: {{HIGHWATER_NODE__ADVERTISED: \"{address}:7400\"}}\n"
            ));
        }
        std::fs::write(folder.path().join("override.yml"), text).expect("a file can be written");
        // Not those of anybody else.
        let ports = PORT_VARIABLES.map(|_| crate::cluster::ports::free());
        Self { project: format!("highwater-test-{number}"), image: image.to_owned(), subnet, ports, folder }
    }

    /// Where clients of Kafka on this machine reach the nodes.
    #[must_use]
    pub fn kafka_addresses(&self) -> Vec<String> {
        self.ports.iter().skip(6).map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// Where clients of Kafka reach a node that are on its network.
    #[must_use]
    pub fn kafka_address_inside(&self, node: u64) -> String {
        format!("{}.{}:9092", self.subnet, 10 + node)
    }

    /// Where a node serves clients.
    #[must_use]
    pub fn address(&self, node: u64) -> String {
        format!("{}.{}:7400", self.subnet, 10 + node)
    }

    fn compose(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("docker-compose");
        let file: PathBuf = root().join("deploy/docker-compose.yml");
        command.arg("-p").arg(&self.project).arg("-f").arg(file).arg("-f").arg(self.folder.path().join("override.yml"));
        command.env("HIGHWATER_IMAGE", &self.image);
        for (name, port) in PORT_VARIABLES.into_iter().zip(self.ports) {
            command.env(name, port.to_string());
        }
        command.args(arguments).output().expect("docker-compose runs")
    }

    /// Runs a command of docker-compose that must succeed; gives its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.compose(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker-compose {arguments:?}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn container(&self, node: u64) -> String {
        let name = format!("node-{node}");
        self.run(&["ps", "-q", &name]).trim().to_owned()
    }

    fn network(&self) -> String {
        format!("{}_default", self.project)
    }

    /// Cuts a node off: `docker network disconnect`.
    pub fn disconnect(&self, node: u64) {
        docker(&["network", "disconnect", &self.network(), &self.container(node)]);
    }

    /// Ends that.
    pub fn connect(&self, node: u64) {
        let (address, alias) = (format!("{}.{}", self.subnet, 10 + node), format!("node-{node}"));
        docker(&["network", "connect", "--ip", &address, "--alias", &alias, &self.network(), &self.container(node)]);
    }

    /// What the nodes have said.
    #[must_use]
    pub fn logs(&self) -> String {
        String::from_utf8_lossy(&self.compose(&["logs", "--no-color", "--tail", "40"]).stdout).into_owned()
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        let _ = self.compose(&["down", "-v", "--remove-orphans", "--timeout", "5"]);
    }
}

#[track_caller]
fn docker(arguments: &[&str]) {
    let output = Command::new("docker").args(arguments).output().expect("docker runs");
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
