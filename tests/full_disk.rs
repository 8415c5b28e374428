//! A full disk: every submit is told so, nothing that was acknowledged is lost, and when there is
//! room again the server goes on by itself.

#![allow(clippy::unwrap_used, reason = "a test says by its panic what it did not find")]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::{poll, setup, task};

/// A file system of its own, unmounted when dropped. Needs root.
struct SmallDisk {
    at: tempfile::TempDir,
}

impl SmallDisk {
    fn of(size: &str) -> Self {
        let at = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at.path()).status();
        assert!(mounted.is_ok_and(|status| status.success()), "a tmpfs can be mounted: this test runs as root");
        Self { at }
    }

    /// Leaves no byte free, by a file that gives them back when it is removed.
    fn fill(&self) {
        // It ends with an error when the disk is full, and that is what is wanted.
        let mut file = std::fs::File::create(self.filler()).unwrap();
        let full = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> std::path::PathBuf {
        self.at.path().join("filler")
    }

    fn path(&self) -> &Path {
        self.at.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is just being killed may still hold files.
        let _ = Command::new("umount").arg("--lazy").arg(self.at.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_503_and_recovers_by_itself() {
    let disk = SmallDisk::of("96m");
    let (mut server, client, module) = setup().in_directory(disk.path()).start_with_guests().await;
    let echo = |n: usize| task(&module, "echo", json!(n));
    let mut accepted = Vec::new();
    for n in 0..20 {
        accepted.push((n, client.submit(&echo(n)).await["id"].as_str().unwrap().to_owned()));
    }

    disk.fill();
    // The log of the database may have room left in itself for some.
    let mut n = 20;
    let refused = poll("a submit to be refused", async || {
        let answer = client.post("/api/v1/tasks", task(&module, "echo", json!(n)).to_string()).await.unwrap();
        if answer.status == 201 {
            accepted.push((n, answer.json()["id"].as_str().unwrap().to_owned()));
            n += 1;
            return None;
        }
        Some(answer)
    })
    .await;
    let problem = refused.refused(503, "unavailable");
    assert!(problem["reason"].as_str().unwrap().contains("full"), "{problem}");
    assert_eq!((&problem["fault"], &problem["retryable"]), (&json!("platform"), &json!(true)));
    assert!(refused.header("retry-after").is_some());
    client.get("/readyz").await.unwrap().refused(503, "unavailable");
    assert_eq!(client.get("/healthz").await.unwrap().status, 200);
    // What is stored can still be read.
    assert_eq!(client.task(&accepted[0].1).await["id"], accepted[0].1.as_str());

    disk.free();
    poll("the server to recover", async || client.get("/readyz").await.ok().filter(|answer| answer.status == 200))
        .await;
    assert_eq!(client.run(&echo(n)).await["result"], json!(n));
    for (n, id) in &accepted {
        let ended = client.end_of(id).await;
        assert_eq!((&ended["state"], &ended["result"]), (&json!("success"), &json!(n)), "{ended}");
    }
    assert!(server.stop().await.success());
}
