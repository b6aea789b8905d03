//! Which objects there are, and their end.

use super::S3Store;
use super::failure::{Refusal, refusal, unavailable};
use crate::{BlobError, Key};

impl S3Store {
    /// The keys that begin with `prefix`, sorted.
    ///
    /// # Errors
    ///
    /// [`BlobError::Unavailable`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<Key>, BlobError> {
        self.meter
            .count("list", &prefix, self.list_all(prefix))
            .await
    }

    async fn list_all(&self, prefix: &str) -> Result<Vec<Key>, BlobError> {
        let mut keys = Vec::new();
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(self.bucket())
            .prefix(format!("{}{prefix}", self.place.prefix))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| unavailable(&format!("list {prefix:?}"), &error))?;
            let objects = page.contents.unwrap_or_default();
            keys.extend(
                objects
                    .iter()
                    .filter_map(|object| self.key(object.key.as_deref()?)),
            );
        }
        // S3's own order in most buckets, and nobody's promise in all.
        keys.sort();
        Ok(keys)
    }

    /// Removes an object. That there is none is fine.
    ///
    /// # Errors
    ///
    /// [`BlobError::Unavailable`].
    pub async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.meter.count("delete", key, self.remove(key)).await
    }

    async fn remove(&self, key: &Key) -> Result<(), BlobError> {
        let deleted = self
            .client
            .delete_object()
            .bucket(self.bucket())
            .key(self.object(key))
            .send()
            .await;
        match deleted {
            Ok(_deleted) => Ok(()),
            Err(error) if matches!(refusal(&error), Refusal::NoObject | Refusal::NoBucket) => {
                Ok(())
            }
            Err(error) => Err(unavailable(&format!("delete {key}"), &error)),
        }
    }
}
