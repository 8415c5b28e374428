//! Modules and their tags, as they are read.

use std::sync::Arc;

use rusqlite::{OptionalExtension, params};

use crate::model::{Digest, ModuleInfo, ModuleName, Tag, TaskState, Timestamp};

use super::reads::{Page, ReadError, Reader};
use super::rows::{json_or, parsed, time};

/// A module with its place in the list.
#[derive(Debug, Clone)]
pub struct ModuleRow {
    pub info: Arc<ModuleInfo>,
    pub created_at: Timestamp,
    pub tags: Vec<(ModuleName, Tag)>,
}

/// What a tag pointed at from some moment on.
#[derive(Debug, Clone)]
pub struct TagRow {
    pub tag: Tag,
    /// None: the tag was taken away.
    pub digest: Option<Digest>,
    pub set_at: Timestamp,
    pub set_by: String,
    /// Whether it still points there.
    pub current: bool,
}

impl Reader<'_> {
    pub fn module(&self, wanted: &Digest) -> Result<Option<Arc<ModuleInfo>>, ReadError> {
        let mut statement = self.connection.prepare_cached("SELECT info FROM modules WHERE digest = ?1")?;
        let info = statement.query_row([wanted.as_bytes()], |row| json_or(row, 0, missing)).optional()?;
        Ok(info.map(Arc::new))
    }

    /// Newest first.
    pub fn modules(&self, before: Option<u64>, limit: usize) -> Result<Page<ModuleRow>, ReadError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT seq, info, created_at FROM modules WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2")?;
        let before = before.map_or(i64::MAX, |seq| seq as i64);
        let mut rows = statement
            .query_map([before, limit as i64 + 1], |row| {
                let info: ModuleInfo = json_or(row, 1, missing)?;
                let created_at = time(row, 2)?.unwrap_or(Timestamp::from_micros(0));
                Ok((row.get::<_, i64>(0)? as u64, ModuleRow { info: Arc::new(info), created_at, tags: Vec::new() }))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().map(|(seq, _)| *seq).filter(|_| more);
        let mut items: Vec<ModuleRow> = rows.into_iter().map(|(_, row)| row).collect();
        for item in &mut items {
            item.tags = self.tags_of(&item.info.digest)?;
        }
        Ok(Page { items, next_cursor })
    }

    /// Where a tag points now.
    pub fn resolve(&self, name: &ModuleName, tag: &Tag) -> Result<Option<Digest>, ReadError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT digest FROM module_tags WHERE name = ?1 AND tag = ?2 ORDER BY seq DESC LIMIT 1")?;
        let newest =
            statement.query_row([name.as_str(), tag.as_str()], |row| row.get::<_, Option<[u8; 32]>>(0)).optional()?;
        Ok(newest.flatten().map(Digest::from_bytes))
    }

    /// The history of a name's tags, newest first, at most `limit`.
    pub fn tags(&self, name: &ModuleName, limit: usize) -> Result<Vec<TagRow>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT tag, digest, set_at, set_by,
                    seq = (SELECT max(seq) FROM module_tags newest WHERE newest.name = ?1 AND newest.tag = module_tags.tag)
             FROM module_tags WHERE name = ?1 ORDER BY seq DESC LIMIT ?2",
        )?;
        let rows = statement.query_map(params![name.as_str(), limit as i64], |row| {
            Ok(TagRow {
                tag: parsed(row, 0)?,
                digest: row.get::<_, Option<[u8; 32]>>(1)?.map(Digest::from_bytes),
                set_at: time(row, 2)?.unwrap_or(Timestamp::from_micros(0)),
                set_by: row.get(3)?,
                current: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The tags that point at a module now.
    pub fn tags_of(&self, wanted: &Digest) -> Result<Vec<(ModuleName, Tag)>, ReadError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT name, tag FROM module_tags INDEXED BY module_tags_by_digest
             WHERE digest = ?1 AND seq = (SELECT max(seq) FROM module_tags newest
                                          WHERE newest.name = module_tags.name AND newest.tag = module_tags.tag)",
        )?;
        let tags = statement.query_map([wanted.as_bytes()], |row| Ok((parsed(row, 0)?, parsed(row, 1)?)))?;
        let mut tags = tags.collect::<rusqlite::Result<Vec<(ModuleName, Tag)>>>()?;
        // Sorted here: asked to, or told that a digest has many tags, SQLite would walk all tags instead.
        tags.sort();
        Ok(tags)
    }

    /// Some tasks that have not ended and run the module, at most `limit`. Looks
    /// at every active task: asked only before a module is deleted.
    pub fn active_tasks_of(&self, module: &Digest, limit: usize) -> Result<Vec<crate::model::TaskId>, ReadError> {
        let active = TaskState::ALL.iter().filter(|state| !state.is_final());
        let states = active.map(|state| state.code().to_string()).collect::<Vec<_>>().join(", ");
        let mut statement = self.connection.prepare(&format!(
            "SELECT id FROM tasks WHERE state IN ({states}) AND end_date IS NULL AND module = ?1 LIMIT ?2"
        ))?;
        let ids = statement.query_map(params![module.as_bytes(), limit as i64], |row| row.get::<_, i64>(0))?;
        Ok(ids.map(|id| id.map(|id| crate::model::TaskId::from_u64(id as u64))).collect::<rusqlite::Result<_>>()?)
    }
}

fn missing() -> ModuleInfo {
    unreachable!("modules.info is never null")
}
