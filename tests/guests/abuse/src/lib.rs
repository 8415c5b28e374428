//! Guests that try everything they should not, for ever or until they are stopped.

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use tradewind_sdk::{Error, Value, data, json, log, Level, task};
use wasip2::cli::stdout::get_stdout;
use wasip2::clocks::monotonic_clock;
use wasip2::io::poll::{Pollable, poll};
use wasip2::random::random;
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::{instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket};

/// Calls the host and does nothing else.
#[task]
fn call_the_host() {
    loop {
        black_box(monotonic_clock::now());
    }
}

/// Writes nothing, again and again.
#[task]
fn write_nothing() -> Result<(), Error> {
    let stdout = get_stdout();
    loop {
        stdout.check_write().map_err(refused)?;
        stdout.write(&[]).map_err(refused)?;
        stdout.flush().map_err(refused)?;
    }
}

/// Prints without end.
#[task]
fn flood_stdout() -> Result<(), Error> {
    let line = [b'x'; 4096];
    loop {
        std::io::stdout().write_all(&line)?;
    }
}

/// Logs without end.
#[task]
fn flood_the_log() {
    let line = "x".repeat(4096);
    loop {
        log!(Level::Info, "{line}");
    }
}

/// Takes one handle after the other and gives none back.
#[task]
fn hoard_handles() -> usize {
    let mut hoard: Vec<Pollable> = Vec::new();
    while hoard.len() < 1_000_000 {
        hoard.push(monotonic_clock::subscribe_duration(u64::MAX));
    }
    hoard.len()
}

/// Waits for a thousand things at once, none of which happens.
#[task]
fn wait_for_ever() {
    let never: Vec<Pollable> = (0..1_000).map(|_| monotonic_clock::subscribe_duration(u64::MAX)).collect();
    poll(&never.iter().collect::<Vec<_>>());
}

/// Computes for less than a time slice, sleeps a little, and begins again.
#[task]
fn nap_between_work() {
    loop {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(1) {
            (0..1_000).for_each(|n| drop(black_box(n)));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asks for more randomness than there is room for.
#[task]
fn drain_randomness() -> usize {
    random::get_random_bytes(u64::MAX).len()
}

#[data]
struct Fill {
    mib: usize,
    rounds: usize,
}

/// Fills a large memory by single instructions. Returns the milliseconds that one took.
#[task]
fn fill_memory(input: Fill) -> f64 {
    let mut memory = vec![0_u8; input.mib << 20];
    let mut longest = Duration::ZERO;
    for round in 0..input.rounds {
        let began = std::time::Instant::now();
        black_box(memory.as_mut_slice()).fill(round as u8 | 1);
        longest = longest.max(began.elapsed());
    }
    longest.as_secs_f64() * 1e3
}

/// Calls itself until the stack is full.
#[task]
fn recurse() -> u64 {
    #[inline(never)]
    #[expect(unconditional_recursion, reason = "that is what it is for")]
    fn deeper(depth: u64) -> u64 {
        let here = black_box([depth; 16]);
        deeper(black_box(depth + 1)) + here[(depth % 16) as usize]
    }
    deeper(0)
}

/// Opens a socket.
#[task]
fn open_tcp() -> Result<(), Error> {
    tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4).map(drop).map_err(refused)
}

/// Opens a socket.
#[task]
fn open_udp() -> Result<(), Error> {
    udp_create_socket::create_udp_socket(IpAddressFamily::Ipv6).map(drop).map_err(refused)
}

/// Looks up a name.
#[task]
fn look_up(name: String) -> Result<(), Error> {
    let network = instance_network::instance_network();
    ip_name_lookup::resolve_addresses(&network, &name).map(drop).map_err(refused)
}

/// Is refused, and makes do.
#[task]
fn live_without_a_socket() -> &'static str {
    let _ = tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4);
    "well"
}

/// Reads what lies around: the environment, and the root of the file system.
#[task]
fn look_around() -> Value {
    let variables: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    let files = ["/", ".", "..", "/etc/passwd", "/proc/self/environ", "/scratch"];
    let found: Vec<&str> = files.into_iter().filter(|path| std::fs::metadata(path).is_ok()).collect();
    json!({ "env": variables, "args": std::env::args().collect::<Vec<_>>(), "files": found })
}

/// Fails with data that is nested as deep as asked.
#[task]
fn fail_deeply(depth: usize) -> Result<(), Error> {
    let mut deep = Value::Null;
    for _ in 0..depth {
        deep = Value::Array(vec![deep]);
    }
    Err(Error::failed("deep").with_data(deep))
}

fn refused(error: impl std::fmt::Debug) -> Error {
    Error::failed(format!("{error:?}"))
}
