//! What a data directory holds, read past the server: the tables are the last word.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

pub fn open(data: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(data.join("tradewind.db"), flags).expect("a database")
}

/// The one number that a query answers.
pub fn count(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
}
