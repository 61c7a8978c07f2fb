//! What is known of one setting, and the check of a value against it.

/// Type of a setting's value; the numbers are those that DescribeConfigs carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// `true` or `false`, in any case.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32-bit integer.
    Int = 3,
    /// 16-bit integer.
    Short = 4,
    /// 64-bit integer.
    Long = 5,
    /// Floating point number.
    Double = 6,
    /// Texts separated by commas.
    List = 7,
    /// Name of a Java class.
    Class = 8,
    /// Text that is never shown.
    Password = 9,
}

/// Values that a setting takes beyond those that its type allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// Whatever the type allows.
    Any,
    /// Integers from the bound up.
    AtLeast(i64),
    /// Integers between the bounds, both included.
    Between(i64, i64),
    /// Integers between the first two, both included, and the third.
    BetweenOr(i64, i64, i64),
    /// Numbers between the bounds, both included.
    Ratio(f64, f64),
    /// One of the words; for a list, each of its elements.
    OneOf(&'static [&'static str]),
    /// One of the words in any case.
    OneOfIgnoringCase(&'static [&'static str]),
    /// Not empty.
    NonEmpty,
    /// A list of `partition:broker`, or `*`.
    ThrottledReplicas,
    /// `earliest`, `latest` or `by_duration:` with an ISO 8601 duration.
    OffsetReset,
}

/// Whether Kafka lets a broker setting change while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// Only by restart.
    No,
    /// For one broker.
    PerBroker,
    /// For one broker or for all of them.
    ClusterWide,
}

/// What a setting does in this broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It acts as in Kafka.
    Acts,
    /// It tunes or limits something that is not here, for the reason given; any value is accepted, with a notice.
    Idle(&'static str),
    /// What it promises does not exist yet; only the default is accepted.
    DefaultOnly,
}

/// One setting of Kafka's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// Type of its value.
    pub kind: ConfigType,
    /// Default in Kafka's text form; none is Kafka's `null`.
    pub default: Option<&'static str>,
    /// Values beyond what the type says.
    pub allowed: Allowed,
    /// Broker settings that supply a topic's default, the strongest first.
    pub inherits: &'static [&'static str],
    /// Whether it may change at run time.
    pub dynamic: Dynamic,
    /// Kafka hides it from DescribeConfigs.
    pub internal: bool,
    /// It appeared in Kafka 4.4, after the release that this broker presents itself as.
    pub since_4_4: bool,
    /// What it does here.
    pub effect: Effect,
}

macro_rules! constructors {
    ($($function:ident $kind:ident),*) => {
        $(pub(super) const fn $function(name: &'static str) -> Definition {
            Definition::new(name, ConfigType::$kind)
        })*
    };
}

// The words that the tables are written in.
constructors!(
    boolean Boolean, string String, int Int, short Short, long Long, double Double, list List, class Class,
    password Password
);

impl Definition {
    const fn new(name: &'static str, kind: ConfigType) -> Self {
        Self {
            name,
            kind,
            default: None,
            allowed: Allowed::Any,
            inherits: &[],
            dynamic: Dynamic::No,
            internal: false,
            since_4_4: false,
            effect: Effect::DefaultOnly,
        }
    }

    pub(super) const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }

    const fn allow(mut self, allowed: Allowed) -> Self {
        self.allowed = allowed;
        self
    }

    pub(super) const fn at_least(self, min: i64) -> Self {
        self.allow(Allowed::AtLeast(min))
    }

    pub(super) const fn between(self, min: i64, max: i64) -> Self {
        self.allow(Allowed::Between(min, max))
    }

    pub(super) const fn between_or(self, min: i64, max: i64, other: i64) -> Self {
        self.allow(Allowed::BetweenOr(min, max, other))
    }

    pub(super) const fn ratio(self, min: f64, max: f64) -> Self {
        self.allow(Allowed::Ratio(min, max))
    }

    pub(super) const fn one_of(self, words: &'static [&'static str]) -> Self {
        self.allow(Allowed::OneOf(words))
    }

    pub(super) const fn one_of_ignoring_case(self, words: &'static [&'static str]) -> Self {
        self.allow(Allowed::OneOfIgnoringCase(words))
    }

    pub(super) const fn non_empty(self) -> Self {
        self.allow(Allowed::NonEmpty)
    }

    pub(super) const fn throttled_replicas(self) -> Self {
        self.allow(Allowed::ThrottledReplicas)
    }

    pub(super) const fn offset_reset(self) -> Self {
        self.allow(Allowed::OffsetReset)
    }

    pub(super) const fn inherits(mut self, names: &'static [&'static str]) -> Self {
        self.inherits = names;
        self
    }

    pub(super) const fn per_broker(mut self) -> Self {
        self.dynamic = Dynamic::PerBroker;
        self
    }

    pub(super) const fn cluster_wide(mut self) -> Self {
        self.dynamic = Dynamic::ClusterWide;
        self
    }

    pub(super) const fn internal(mut self) -> Self {
        self.internal = true;
        self
    }

    pub(super) const fn since_4_4(mut self) -> Self {
        self.since_4_4 = true;
        self
    }

    pub(super) const fn acts(mut self) -> Self {
        self.effect = Effect::Acts;
        self
    }

    pub(super) const fn idle(mut self, reason: &'static str) -> Self {
        self.effect = Effect::Idle(reason);
        self
    }

    /// Checks `text` and returns it as Kafka would show it.
    ///
    /// # Errors
    /// What is expected instead, as a clause that follows "must be".
    pub fn check(&self, text: &str) -> Result<String, String> {
        let text = if self.kind == ConfigType::Password { text } else { text.trim() };
        let value = self.check_type(text)?;
        self.check_range(&value)?;
        Ok(value)
    }

    fn check_type(&self, text: &str) -> Result<String, String> {
        let integer = |min: i64, max: i64| match text.parse::<i64>() {
            Ok(n) if (min..=max).contains(&n) => Ok(n.to_string()),
            _ => Err(format!("a whole number {}", self.range_text(min, max))),
        };
        match self.kind {
            ConfigType::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => Ok("true".to_owned()),
                "false" => Ok("false".to_owned()),
                _ => Err("true or false".to_owned()),
            },
            ConfigType::Short => integer(i64::from(i16::MIN), i64::from(i16::MAX)),
            ConfigType::Int => integer(i64::from(i32::MIN), i64::from(i32::MAX)),
            ConfigType::Long => integer(i64::MIN, i64::MAX),
            ConfigType::Double => match text.parse::<f64>() {
                Ok(n) if n.is_finite() => Ok(text.to_owned()),
                _ => Err("a number".to_owned()),
            },
            ConfigType::List => {
                Ok(text.split(',').map(str::trim).filter(|element| !element.is_empty()).collect::<Vec<_>>().join(","))
            }
            ConfigType::String | ConfigType::Class | ConfigType::Password => Ok(text.to_owned()),
        }
    }

    fn check_range(&self, value: &str) -> Result<(), String> {
        let number = || value.parse::<i64>().unwrap_or_default();
        let listed = |words: &[&str], same: fn(&str, &str) -> bool| {
            let known = |element: &str| words.iter().any(|word| same(word, element));
            let good = if self.kind == ConfigType::List { elements(value).all(known) } else { known(value) };
            let only = if self.kind == ConfigType::List { "a list of" } else { "one of" };
            if good { Ok(()) } else { Err(format!("{only} {}", words.join(", "))) }
        };
        let holds = match self.allowed {
            Allowed::Any => true,
            Allowed::AtLeast(min) => number() >= min,
            Allowed::Between(min, max) => (min..=max).contains(&number()),
            Allowed::BetweenOr(min, max, other) => (min..=max).contains(&number()) || number() == other,
            Allowed::Ratio(min, max) => value.parse::<f64>().is_ok_and(|n| (min..=max).contains(&n)),
            Allowed::OneOf(words) => return listed(words, |a, b| a == b),
            Allowed::OneOfIgnoringCase(words) => return listed(words, str::eq_ignore_ascii_case),
            Allowed::NonEmpty => !value.is_empty(),
            Allowed::ThrottledReplicas => value == "*" || elements(value).all(is_partition_and_broker),
            Allowed::OffsetReset => {
                matches!(value, "earliest" | "latest")
                    || value.strip_prefix("by_duration:P").is_some_and(|d| !d.is_empty())
            }
        };
        if holds { Ok(()) } else { Err(self.expectation()) }
    }

    fn expectation(&self) -> String {
        match self.allowed {
            Allowed::Ratio(min, max) => format!("a number from {min} to {max}"),
            Allowed::NonEmpty => "given, not empty".to_owned(),
            Allowed::ThrottledReplicas => "a list of partition:broker, or *".to_owned(),
            Allowed::OffsetReset => "earliest, latest or by_duration: with a duration like PT1H".to_owned(),
            _ => format!("a whole number {}", self.range_text(i64::MIN, i64::MAX)),
        }
    }

    fn range_text(&self, type_min: i64, type_max: i64) -> String {
        match self.allowed {
            Allowed::AtLeast(min) if type_max == i64::MAX => format!("of at least {min}"),
            Allowed::AtLeast(min) => format!("from {min} to {type_max}"),
            Allowed::Between(min, max) => format!("from {min} to {max}"),
            Allowed::BetweenOr(min, max, other) => format!("from {min} to {max}, or {other}"),
            _ => format!("from {type_min} to {type_max}"),
        }
    }
}

/// Elements of a list value.
pub fn elements(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|element| !element.is_empty())
}

fn is_partition_and_broker(element: &str) -> bool {
    element
        .split_once(':')
        .is_some_and(|(partition, broker)| partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok())
}

/// Looks a name up in a table, all of which are sorted by name.
#[must_use]
pub fn find(table: &'static [Definition], name: &str) -> Option<&'static Definition> {
    table.binary_search_by(|definition| definition.name.cmp(name)).ok().and_then(|i| table.get(i))
}

/// Value `text` of `name` as the definition would show it, or unchanged if it does not fit.
#[must_use]
pub fn normalize(definition: &Definition, text: &str) -> String {
    definition.check(text).unwrap_or_else(|_| text.to_owned())
}

/// The name in `table` nearest to `name`, if one is near enough to be a slip of the finger.
pub(super) fn nearest<'a>(names: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let bound = (name.len() / 4).clamp(1, 4);
    names
        .map(|candidate| (edit_distance(candidate, name), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, removals and replacements that turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
