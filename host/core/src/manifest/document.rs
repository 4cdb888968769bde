//! Checks what a manifest declares of the resource documents of a kind.

use berth_mapping::document::{DocumentShape, TemplatePart, ValueSource, names_of};

use super::{KindManifest, ManifestError, check::refuse};

impl KindManifest {
    /// Checks that the declared documents read only what the plan reads.
    pub(super) fn check_document(&self, at: &str) -> Result<(), ManifestError> {
        let Some(document) = &self.document else { return Ok(()) };
        let at = format!("{at}.document");
        if let Some(each) = &document.each {
            self.check_path(&names_of(each), &format!("{at}.each"))?;
        }
        if let Some(join) = &document.join {
            self.check_path(&names_of(&join.from), &format!("{at}.join.from"))?;
        }
        for (index, (path, _)) in document.merges().iter().enumerate() {
            self.check_path(path, &format!("{at}.merge[{index}]"))?;
        }
        if let Some(owner) = &document.owner {
            self.check_path(&names_of(owner), &format!("{at}.owner"))?;
        }
        for (place, source, option) in sources(document) {
            let at = format!("{at}.{place}");
            if let Some(option) =
                option.filter(|option| self.options.iter().all(|known| known.name != *option))
            {
                return Err(refuse(at, format!("there is no option `{option}`")));
            }
            for path in paths(&ValueSource::read(source, &[]).map_err(|reason| refuse(&at, reason))?) {
                self.check_path(path, &at)?;
            }
        }
        Ok(())
    }

    /// Checks a path of a resource.
    fn check_path(&self, path: &[String], at: &str) -> Result<(), ManifestError> {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["item", ..] | ["steps"] => Ok(()),
            ["each" | "joined", ..] if self.document.as_ref().is_some_and(|shape| shape.each.is_some()) => {
                Ok(())
            }
            ["steps" | "parents", step, ..] if self.plan.step(step).is_some() => Ok(()),
            ["steps" | "parents", step, ..] => Err(refuse(at, format!("there is no step `{step}`"))),
            _ => {
                let path = names.join(".");
                Err(refuse(at, format!("`{path}` does not begin with `item`, `steps.` or `parents.`")))
            }
        }
    }
}

/// The sources of all values, each with its place and the option that it needs.
fn sources(document: &DocumentShape) -> impl Iterator<Item = (String, &str, Option<&str>)> {
    let set = document.set.0.iter();
    let set = set.map(|(name, set)| (format!("set.{name}"), set.value.as_str(), set.option.as_deref()));
    let context = document.context.0.iter();
    set.chain(context.map(|(name, value)| (format!("context.{name}"), value.as_str(), None)))
}

/// The paths that a source reads.
fn paths(source: &ValueSource) -> Vec<&Vec<String>> {
    match source {
        ValueSource::Path(path) => vec![path],
        ValueSource::Expression(code) => code.paths.iter().collect(),
        ValueSource::Template(parts) => parts
            .iter()
            .flat_map(|part| match part {
                TemplatePart::Path(path, _) => vec![path],
                TemplatePart::Expression(code, _) => code.paths.iter().collect(),
                TemplatePart::Literal(_)
                | TemplatePart::Account
                | TemplatePart::Region
                | TemplatePart::Partition => Vec::new(),
            })
            .collect(),
    }
}
