//! Tasks for the grant `scratch`: each uses its directory in its own way.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::thread;
use std::time::Duration;

use tradewind_sdk::{Error, Value, data, json, task};

const CHUNK: usize = 4 << 10;

#[data]
#[serde(deny_unknown_fields)]
struct WriteInput {
    path: String,
    bytes: usize,
    /// What comes then.
    #[serde(default)]
    then: Then,
}

#[data]
#[derive(Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Then {
    /// Reads it back, and returns how many bytes there were.
    #[default]
    Return,
    Fail,
    Panic,
    /// Waits for a minute.
    Wait,
}

/// Writes a file, with the directories above it.
#[task]
fn scratch_write(input: WriteInput) -> Result<usize, Error> {
    if let Some((above, _)) = input.path.rsplit_once('/') {
        fs::create_dir_all(above)?;
    }
    fs::write(&input.path, vec![7; input.bytes])?;
    match input.then {
        Then::Return => {
            let read = fs::read(&input.path)?;
            fs::remove_file(&input.path)?;
            Ok(read.iter().filter(|byte| **byte == 7).count())
        }
        Then::Fail => Err(Error::failed("failed as asked")),
        Then::Panic => panic!("panicked as asked"),
        Then::Wait => {
            thread::sleep(Duration::from_secs(60));
            Ok(input.bytes)
        }
    }
}

/// Writes until it fails, then makes room and writes again to the same file. Returns how many
/// bytes there were at first, and why there were no more.
#[task]
fn scratch_fill() -> Result<Value, Error> {
    let mut file = File::create("/scratch/full")?;
    let (bytes, error) = fill(&mut file);
    let held = fs::metadata("/scratch/full")?.len();
    file.set_len(held / 2)?;
    file.seek(SeekFrom::Start(held / 2))?;
    let (again, _) = fill(&mut file);
    Ok(json!({ "bytes": bytes, "held": held, "again": again, "error": error }))
}

fn fill(file: &mut File) -> (usize, String) {
    let mut bytes = 0;
    loop {
        match file.write(&[7; CHUNK]) {
            Ok(written) => bytes += written,
            Err(error) => return (bytes, error.kind().to_string()),
        }
    }
}

#[data]
#[serde(deny_unknown_fields)]
struct Sparse {
    size: u64,
}

/// Tries to get more than it has with holes: by length, by a write far away, by appending to them.
#[task]
fn scratch_sparse(input: Sparse) -> Result<Value, Error> {
    let file = File::create("/scratch/by_length")?;
    let by_length = said(file.set_len(input.size));
    let mut file = File::create("/scratch/by_seek")?;
    file.seek(SeekFrom::Start(input.size))?;
    let by_seek = said(file.write(b"x").and_then(|_| file.flush()));
    let mut file = OpenOptions::new().append(true).open("/scratch/by_length")?;
    let half = fs::metadata("/scratch/by_length")?.len();
    let appended = fill(&mut file).0;
    Ok(json!({ "by_length": by_length, "by_seek": by_seek, "half": half, "appended": appended }))
}

#[data]
#[serde(deny_unknown_fields)]
struct Churn {
    rounds: usize,
    bytes: usize,
}

/// Writes, cuts, replaces and deletes files, round for round. Returns how many bytes were written.
#[task]
fn scratch_churn(input: Churn) -> Result<usize, Error> {
    let contents = vec![7; input.bytes];
    let round = |number: usize| -> io::Result<()> {
        let directory = format!("/tmp/round_{number}");
        fs::create_dir(&directory)?;
        fs::write(format!("{directory}/new"), &contents)?;
        fs::rename(format!("{directory}/new"), "/tmp/kept")?;
        OpenOptions::new().append(true).open("/tmp/kept")?.write_all(b"more")?;
        fs::write("/tmp/kept", b"cut")?;
        fs::write(format!("{directory}/other"), &contents)?;
        // Without a name, it is held until it is closed.
        let mut file = File::open(format!("{directory}/other"))?;
        fs::remove_file(format!("{directory}/other"))?;
        io::copy(&mut file, &mut io::sink())?;
        fs::remove_dir(&directory)
    };
    for number in 0..input.rounds {
        round(number).map_err(|error| Error::failed(format_args!("round {number}: {error}")))?;
    }
    Ok(input.rounds * 2 * input.bytes)
}

#[data]
#[serde(deny_unknown_fields)]
struct Tricks {
    /// A file of the server's, as it sees it.
    outside: String,
    /// Whether to fail in the end.
    #[serde(default)]
    fail: bool,
}

/// Tries to leave its directory. Returns what was said to each try.
#[task]
fn scratch_tricks(input: Tricks) -> Result<Value, Error> {
    fs::write("file", "mine")?;
    fs::create_dir_all("a/b")?;
    let outside = input.outside.as_str();
    let up = format!("{}{outside}", "../".repeat(20));
    let mut tries: BTreeMap<&str, String> = BTreeMap::new();
    let mut tried = |what, answer: io::Result<()>| {
        tries.insert(what, said(answer));
    };
    tried("read above", fs::read(&up).map(drop));
    tried("read above through a directory", fs::read(format!("/tmp/a/b/../../../{up}")).map(drop));
    tried("read absolute", fs::read(outside).map(drop));
    tried("write above", fs::write("../written", "x"));
    tried("write above by name", fs::write("/scratch/../written", "x"));
    tried("cut above", OpenOptions::new().write(true).truncate(true).open(&up).map(drop));
    tried("list above", fs::read_dir("..").map(drop));
    tried("look above", fs::metadata(&up).map(drop));
    tried("make a directory above", fs::create_dir("../made"));
    tried("remove above", fs::remove_file(&up));
    tried("remove itself", fs::remove_dir("/scratch"));
    tried("remove above it", fs::remove_dir(".."));
    tried("rename out", fs::rename("file", "../file"));
    tried("rename in", fs::rename(&up, "got"));
    tried("rename over above", fs::rename("file", &up));
    #[expect(deprecated, reason = "what replaces it is not stable for WASI")]
    {
        tried("symbolic link", fs::soft_link(outside, "symbolic"));
        tried("symbolic link within", fs::soft_link("file", "symbolic"));
    }
    tried("hard link", fs::hard_link("file", "hard"));
    tried("hard link out", fs::hard_link("file", "../hard"));
    tried("hard link in", fs::hard_link(&up, "hard"));
    tried("long name", fs::write("n".repeat(300), "x"));
    tried("long path", fs::create_dir_all("d/".repeat(200)));
    if input.fail {
        return Err(Error::failed("failed as asked"));
    }
    Ok(json!(tries))
}

/// Takes room in ways that are not writing to a file: each until it fails. Returns how far each came.
#[task]
fn scratch_hoard() -> Result<Value, Error> {
    let empty_files = count(|number| fs::write(format!("/tmp/{number}"), "").map(drop));
    empty("/tmp")?;
    let directories = count(|number| fs::create_dir(format!("/tmp/{number}")));
    empty("/tmp")?;
    let mut held = Vec::new();
    let unnamed = count(|number| {
        let path = format!("/tmp/{number}");
        let mut file = File::create(&path)?;
        fs::remove_file(&path)?;
        file.write_all(&[7; 16 * CHUNK])?;
        held.push(file);
        Ok(())
    });
    held.clear();
    let file = |number| File::create(format!("/tmp/{}", number % 8));
    let opened = count(|number| {
        held.push(file(number)?);
        Ok(())
    });
    held.clear();
    empty("/tmp")?;
    let mut all = 0;
    fs::write("/tmp/whole", vec![7; 8 * CHUNK])?;
    File::open("/tmp/whole")?.take(u64::MAX).read_to_end(&mut Vec::new()).map(|bytes| all += bytes)?;
    Ok(json!({
        "empty_files": empty_files, "directories": directories, "unnamed": unnamed, "opened": opened, "then": all
    }))
}

/// Names in each of the directories a guest may find.
#[task]
fn scratch_list() -> Value {
    let names = |path: &str| -> Result<Vec<String>, String> {
        let entries = fs::read_dir(path).map_err(|error| error.kind().to_string())?;
        Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    };
    json!({
        "/scratch": names("/scratch"), "/tmp": names("/tmp"), ".": names("."), "/": names("/"),
        "TMPDIR": std::env::var("TMPDIR").ok(),
    })
}

fn said(answer: io::Result<()>) -> String {
    answer.map_or_else(|error| error.kind().to_string(), |()| "done".to_owned())
}

fn count(mut more: impl FnMut(usize) -> io::Result<()>) -> usize {
    (0..).take_while(|number| more(*number).is_ok()).count()
}

fn empty(path: &str) -> io::Result<()> {
    for entry in fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()? {
        if entry.file_type()?.is_dir() { fs::remove_dir(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}
