//! The checks of `cargo xtask tidy` on pages for people: links inside the repository work, and the changelog has
//! the form of <https://keepachangelog.com/en/1.1.0/>.

use std::path::Path;

/// Links of a page (`name`, from the top folder) that lead nowhere. Templates of pages are not
/// looked at: their links hold where they are written to.
pub(crate) fn links(root: &Path, name: &str, text: &str) -> Vec<String> {
    let folder = Path::new(name).parent().unwrap_or_else(|| Path::new(""));
    let mut offences = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            if !root.join(folder).join(path).exists() {
                offences.push(format!("{name}:{}: the link to `{target}` leads nowhere", number + 1));
            }
        }
    }
    offences
}

/// Offences of the changelog, for a workspace of this version.
pub(crate) fn changelog(text: &str, version: &str) -> Vec<String> {
    const SECTIONS: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    let mut offences = Vec::new();
    let mut offend = |line: usize, what: String| offences.push(format!("CHANGELOG.md:{line}: {what}"));
    let Some(mut newer) = numbers(version) else {
        return vec![format!("the workspace's version `{version}` is not major.minor.patch")];
    };
    let mut sections = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line)) {
        if let Some(section) = line.strip_prefix("### ") {
            if !SECTIONS.contains(&section) {
                offend(number, format!("`{section}` is none of {}", SECTIONS.join(", ")));
            }
        } else if let Some(heading) = line.strip_prefix("## ") {
            sections.push(heading);
            if heading == "[Unreleased]" {
                if sections.len() > 1 {
                    offend(number, "what is not released comes first".to_owned());
                }
                continue;
            }
            let released = heading.strip_prefix('[').and_then(|rest| rest.split_once("] - "));
            let Some((found, date)) = released.and_then(|(found, date)| Some((numbers(found)?, date))) else {
                offend(number, format!("`{heading}` is not `[major.minor.patch] - year-month-day`"));
                continue;
            };
            if !is_date(date) {
                offend(number, format!("`{date}` is not a date as in 2026-11-24"));
            }
            if found > newer {
                offend(
                    number,
                    format!("`{heading}` stands below an older version, or is newer than {version}"),
                );
            }
            newer = found;
        }
    }
    if sections.is_empty() {
        offend(1, "there is no version, not even `## [Unreleased]`".to_owned());
    }
    offences
}

fn numbers(version: &str) -> Option<[u64; 3]> {
    let parts: Vec<u64> = version.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    parts.try_into().ok()
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let digits = |part: &&str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts.as_slice(), [year, month, day] if digits(year, 4) && digits(month, 2) && digits(day, 2))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn links_lead_somewhere() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("guides")).unwrap();
        fs::write(root.path().join("README.md"), "").unwrap();
        let page = "[up](../README.md#top) [here](#x) [out](https://a.example/)\n```\n[no](link)\n```\n[gone](gone.md)\n";
        let found = links(root.path(), "guides/page.md", page);
        assert_eq!(found, ["guides/page.md:5: the link to `gone.md` leads nowhere"]);
    }

    #[test]
    fn the_changelog_keeps_its_form() {
        let well = "# Changelog\n## [Unreleased]\n### Added\n## [0.2.0] - 2026-11-24\n### Fixed\n## [0.1.0] - 2026-01-02\n";
        assert_eq!(changelog(well, "0.2.0"), Vec::<String>::new());
        let ill = "## [0.1.0] - 2026-11-24\n### News\n## [0.2.0] - yesterday\n## [Unreleased]\n## Older\n";
        let found = changelog(ill, "0.1.0").join("\n");
        for text in [
            ":2: `News`",
            ":3: `yesterday`",
            ":3: `[0.2.0] - yesterday` stands below",
            ":4: what is not",
            ":5: `Older`",
        ] {
            assert!(found.contains(text), "{text}: {found}");
        }
        assert!(!changelog("# Changelog\n", "0.1.0").is_empty() && !changelog(well, "0.1.0").is_empty());
    }
}
