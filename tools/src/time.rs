//! Times as people write them: dates in ISO 8601, durations as Java prints them.

use corelane_core::base::Timestamp;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March, so that the leap day is their last; 400 of them have 146,097 days.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_since_1970(next_year, next_month, 1) - days_since_1970(year, month, 1)
}

fn number(text: &str, digits: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|value| is_number && range.contains(value))
}

/// A time as `2026-01-31T08:30:00.000`, with `Z` or `+01:00` behind it or in UTC; the seconds and what is behind them may
/// be left out.
pub(crate) fn parse_datetime(text: &str) -> Result<Timestamp, String> {
    datetime(text).ok_or_else(|| {
        format!("`{text}` is no time; write it as 2026-01-31T08:30:00.000, with Z or +01:00 if it is not UTC")
    })
}

fn datetime(text: &str) -> Option<Timestamp> {
    let (date, clock) = text.split_once('T')?;
    let (clock, zone_ms) = match clock.find(['Z', '+', '-']) {
        None => (clock, 0),
        Some(at) => (clock.get(..at)?, zone(clock.get(at..)?)?),
    };
    let date: Vec<&str> = date.split('-').collect();
    let [year, month, day] = date[..] else { return None };
    let (year, month) = (number(year, 4, 1..=9999)?, number(month, 2, 1..=12)?);
    let day = number(day, 2, 1..=days_of_month(year, month))?;
    let clock: Vec<&str> = clock.split(':').collect();
    let (hours, minutes, seconds) = match clock[..] {
        [hours, minutes] => (hours, minutes, "00"),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let fraction_ms = number(&format!("{fraction:0<3}"), 3, 0..=999)?;
    let clock_ms = number(hours, 2, 0..=23)? * HOUR_MS + number(minutes, 2, 0..=59)? * MINUTE_MS;
    let second_ms = number(seconds, 2, 0..=59)? * SECOND_MS + fraction_ms;
    Some(Timestamp(days_since_1970(year, month, day) * DAY_MS + clock_ms + second_ms - zone_ms))
}

fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits: String = text.get(1..)?.chars().filter(|c| *c != ':').collect();
    let hours = number(digits.get(..2)?, 2, 0..=18)?;
    let minutes = match digits.get(2..)? {
        "" => 0,
        minutes => number(minutes, 2, 0..=59)?,
    };
    Some(sign * (hours * HOUR_MS + minutes * MINUTE_MS))
}

/// Milliseconds of a duration as `P1DT2H30M5.5S`.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    duration(text)
        .ok_or_else(|| format!("`{text}` is no duration; write it as P1DT2H30M5S: days, hours, minutes, seconds"))
}

fn duration(text: &str) -> Option<i64> {
    let text = text.to_ascii_uppercase();
    let (negative, text) = text.strip_prefix('-').map_or((false, text.as_str()), |rest| (true, rest));
    let (days, clock) = match text.strip_prefix('P')?.split_once('T') {
        Some((_, "")) => return None,
        Some((days, clock)) => (days, clock),
        None => (text.strip_prefix('P')?, ""),
    };
    if days.is_empty() && clock.is_empty() {
        return None;
    }
    let mut total = 0_i64;
    let mut add = |amount: &str, unit_ms: i64| -> Option<()> {
        let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
        let whole: i64 = whole.parse().ok()?;
        if fraction.len() > 3
            || !fraction.bytes().all(|byte| byte.is_ascii_digit())
            || (!fraction.is_empty() && unit_ms != SECOND_MS)
        {
            return None;
        }
        let fraction: i64 = format!("{fraction:0<3}").parse().ok()?;
        let part = whole.checked_mul(unit_ms)?.checked_add(if unit_ms == SECOND_MS { fraction } else { 0 })?;
        total = total.checked_add(part)?;
        Some(())
    };
    if !days.is_empty() {
        add(days.strip_suffix('D')?, DAY_MS)?;
    }
    let mut rest = clock;
    for (unit, unit_ms) in [('H', HOUR_MS), ('M', MINUTE_MS), ('S', SECOND_MS)] {
        if let Some((amount, behind)) = rest.split_once(unit) {
            add(amount, unit_ms)?;
            rest = behind;
        }
    }
    rest.is_empty().then_some(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000", 0),
            ("1970-01-01T00:00", 0),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2025-10-09T08:53:30.5", 1_760_000_010_500),
            ("2025-10-09T10:53:30+02:00", 1_760_000_010_000),
            ("2025-10-09T10:53:30+0200", 1_760_000_010_000),
            ("2025-10-09T03:53:30-05", 1_760_000_010_000),
            ("1969-12-31T23:59:59.999", -1),
        ] {
            assert_eq!(parse_datetime(text), Ok(Timestamp(ms)), "{text}");
        }
        for bad in [
            "",
            "2025",
            "2025-13-01T00:00:00",
            "2025-02-29T00:00:00",
            "2025-10-09 08:53:30",
            "2025-10-09T24:00:00",
            "2025-10-09T08:53:30.1234",
            "2025-10-09T08:53:30+",
            "2025-10-09T08:53:30+2",
            "-025-10-09T08:53:30",
        ] {
            assert!(parse_datetime(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_those_that_java_prints() {
        for (text, ms) in [
            ("PT0S", 0),
            ("P1DT2H30M5.5S", 95_405_500),
            ("PT90M", 5_400_000),
            ("P7D", 604_800_000),
            ("pt1h", 3_600_000),
            ("-PT1S", -1_000),
        ] {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
        for bad in ["", "P", "PT", "1H", "P1H", "PT1D", "PT1S1H", "PT1.5H", "PTxS", "PT1S1", "PT99999999999999999S"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
