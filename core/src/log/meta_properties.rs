//! `meta.properties`: whose data directory this is.
//!
//! A directory of another cluster or node must never be written to, so an unknown or missing field is an error.

use std::collections::BTreeMap;

use crate::base::{NodeId, Uuid};
use crate::log::checkpoint::TextError;

/// Content of `meta.properties`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// Cluster to which the data belong; text because old clusters have ids that are not 22 characters of base64url.
    pub cluster_id: String,
    /// Node to which the data belong.
    pub node_id: NodeId,
    /// Identity of this directory among those of the node (KIP-858); older Kafka versions wrote none.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// Reads the text of the file, version 1 or version 0.
    ///
    /// # Errors
    /// The first line that is wrong; one past the last if a field is missing.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let fields = parse_properties(text)?;
        let end = text.lines().count().saturating_add(1);
        let need = |name: &str| fields.get(name).ok_or_else(|| TextError::at(end, format!("{name} is missing")));
        let (version_line, version) = need("version")?;
        let node_name = match version.as_str() {
            "1" => "node.id",
            "0" => "broker.id",
            other => {
                return Err(TextError::at(*version_line, format!("version {other:?} is not known, only 0 and 1 are")));
            }
        };
        let (cluster_line, cluster_id) = need("cluster.id")?;
        if cluster_id.is_empty() {
            return Err(TextError::at(*cluster_line, "cluster.id is empty"));
        }
        let (node_line, node) = need(node_name)?;
        let node_id = node.parse().ok().filter(|id| *id >= 0);
        let node_id =
            node_id.ok_or_else(|| TextError::at(*node_line, format!("{node_name} {node:?} is not a node id")))?;
        let directory_id = match fields.get("directory.id") {
            None => None,
            Some((line, id)) => {
                let id = Uuid::parse(id).filter(|id| *id != Uuid::ZERO);
                Some(id.ok_or_else(|| TextError::at(*line, "directory.id is not an id"))?)
            }
        };
        Ok(Self { cluster_id: cluster_id.clone(), node_id: NodeId(node_id), directory_id })
    }

    /// The text of the file, version 1.
    #[must_use]
    pub fn to_text(&self) -> String {
        let directory = self.directory_id.map(|id| format!("directory.id={id}\n")).unwrap_or_default();
        format!("cluster.id={}\n{directory}node.id={}\nversion=1\n", self.cluster_id, self.node_id)
    }
}

/// The Java properties format as far as this file needs it: comments, `=` or `:`, a backslash before a character.
/// Gives each name its line and value.
fn parse_properties(text: &str) -> Result<BTreeMap<String, (usize, String)>, TextError> {
    let mut fields = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (name, value) = line.split_once(['=', ':']).ok_or_else(|| TextError::at(number, "expected name=value"))?;
        let value = value.trim().replace('\\', "");
        if fields.insert(name.trim().to_owned(), (number, value)).is_some() {
            return Err(TextError::at(number, format!("{} is set twice", name.trim())));
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_text_comes_back_and_kafkas_is_read() {
        let meta = MetaProperties {
            cluster_id: "q1Sh-9_ISia_zwGINzRvyQ".to_owned(),
            node_id: NodeId(1),
            directory_id: Some(Uuid([7; 16])),
        };
        assert_eq!(MetaProperties::parse(&meta.to_text()), Ok(meta.clone()));
        let theirs = format!(
            "#\n#Sat Nov 21 09:00:00 UTC 2026\ncluster.id=q1Sh-9_ISia_zwGINzRvyQ\ndirectory.id={}\nnode.id=1\nversion=1\n",
            Uuid([7; 16])
        );
        assert_eq!(MetaProperties::parse(&theirs), Ok(meta));
        let old = MetaProperties::parse("version=0\nbroker.id=3\ncluster.id=x\n").unwrap();
        assert_eq!((old.node_id, old.directory_id), (NodeId(3), None));
    }

    #[test]
    fn an_error_names_its_line() {
        for (text, line) in [
            ("", 1),
            ("version=2\n", 1),
            ("version=1\nnode.id=1\n", 3),
            ("version=1\nnode.id=-1\ncluster.id=x\n", 2),
            ("version=1\nnode.id=1\ncluster.id=\n", 3),
            ("version=1\nnode.id=1\ncluster.id=x\ndirectory.id=y\n", 4),
            ("version=1\nversion=1\n", 2),
            ("# x\nversion\n", 2),
        ] {
            assert_eq!(MetaProperties::parse(text).unwrap_err().line, line, "{text:?}");
        }
    }
}
