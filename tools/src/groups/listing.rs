//! Which groups there are: every broker is asked for those that it coordinates.

use corelane_core::client::{Destination, ErrorCode};
use corelane_core::protocol::messages::{ListGroupsRequest, ListGroupsResponse};
use serde::Serialize;

use super::Admin;
use crate::failure::Failure;
use crate::output::{line, print_json, table};

const STATES: &[&str] =
    &["PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty", "Assigning", "Reconciling", "NotReady"];
const TYPES: &[&str] = &["classic", "consumer"];

/// What to list.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Print states, of these only if there are any.
    pub(crate) states: Option<Vec<String>>,
    /// Print types, of these only if there are any.
    pub(crate) types: Option<Vec<String>>,
    /// Groups of whom.
    pub(crate) of: Whose,
}

/// Whose groups to list. Other kinds of clients, such as Connect's workers, use groups for their own purposes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Those of consumers, and those that have offsets only.
    #[default]
    Consumers,
    /// Those that speak this protocol; the protocol is printed too.
    Protocol(String),
    /// All, with their types and protocols.
    All,
}

impl Whose {
    fn includes(&self, listed: &Listed) -> bool {
        match self {
            Self::Consumers => listed.protocol_type.is_empty() || listed.protocol_type == "consumer",
            Self::Protocol(name) => listed.protocol_type == *name,
            Self::All => true,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Listed {
    group: String,
    protocol_type: String,
    state: String,
    #[serde(rename = "type")]
    kind: String,
}

fn all(admin: &mut Admin) -> Result<Vec<Listed>, Failure> {
    let mut found = Vec::new();
    for node in admin.brokers()? {
        let verdict = |response: &ListGroupsResponse| ErrorCode(response.error_code);
        let request = ListGroupsRequest::default();
        let response = admin.call_until(Destination::Node(node), request, i16::MAX, verdict)?;
        if response.error_code != 0 {
            return Err(Failure::new(format!("broker {node}: {}", ErrorCode(response.error_code))));
        }
        found.extend(response.groups.into_iter().map(|group| Listed {
            group: group.group_id.to_string(),
            protocol_type: group.protocol_type.to_string(),
            state: group.group_state.to_string(),
            kind: group.group_type.to_string(),
        }));
    }
    found.sort();
    Ok(found)
}

/// Names of all consumer groups.
pub(crate) fn names(admin: &mut Admin) -> Result<Vec<String>, Failure> {
    Ok(all(admin)?.into_iter().filter(|each| Whose::Consumers.includes(each)).map(|listed| listed.group).collect())
}

/// One of the names that there are, whatever its letters' case.
fn known(wanted: &[String], names: &[&str], what: &str) -> Result<Vec<String>, Failure> {
    let unknown = wanted.iter().find(|name| !names.iter().any(|known| known.eq_ignore_ascii_case(name)));
    match unknown {
        Some(name) => Err(Failure::new(format!("`{name}` is no {what} of a group; there are {}", names.join(", ")))),
        None => Ok(wanted.iter().map(|name| name.to_ascii_lowercase()).collect()),
    }
}

/// Prints groups.
pub(crate) fn list(admin: &mut Admin, listing: &Listing, json: bool) -> Result<(), Failure> {
    let states = known(listing.states.as_deref().unwrap_or_default(), STATES, "state")?;
    let types = known(listing.types.as_deref().unwrap_or_default(), TYPES, "type")?;
    let wanted = |names: &[String], name: &str| names.is_empty() || names.contains(&name.to_ascii_lowercase());
    let mut found = all(admin)?;
    found.retain(|each| listing.of.includes(each) && wanted(&states, &each.state) && wanted(&types, &each.kind));
    if json {
        return print_json(found);
    }
    let (has_types, has_protocols) =
        (listing.types.is_some() || listing.of == Whose::All, listing.of != Whose::Consumers);
    let mut header = vec!["GROUP"];
    header.extend(has_types.then_some("TYPE"));
    header.extend(has_protocols.then_some("PROTOCOL"));
    header.extend(listing.states.is_some().then_some("STATE"));
    if header.len() == 1 {
        return found.iter().try_for_each(|each| line(&each.group));
    }
    let rows: Vec<Vec<String>> = found
        .into_iter()
        .map(|each| {
            let mut row = vec![each.group];
            row.extend(has_types.then(|| capitalized(&each.kind)));
            row.extend(has_protocols.then_some(each.protocol_type));
            row.extend(listing.states.is_some().then_some(each.state));
            row
        })
        .collect();
    table(&header, &[25, 20, 20, 20], &rows).iter().try_for_each(line)
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
