//! The accounts, regions and resources. Nothing is stored: everything follows from the seed and the caller.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    Options,
    catalog::{Catalog, Collection},
    hash, noun,
    noun::Form,
};

/// Hex digits of a token that tell the collection, account and region.
const UNIT_DIGITS: usize = 11;
/// Hex digits that tell which resource of these.
const INDEX_DIGITS: usize = 6;
const TOKEN: usize = UNIT_DIGITS + INDEX_DIGITS;

/// Everything that there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) catalog: Catalog,
    pub(crate) first_account: u64,
    pub(crate) accounts: usize,
    pub(crate) regions: Vec<String>,
    seed: u64,
    empty_share: f64,
    /// Resources of each collection in a unit that is not empty.
    counts: Vec<u32>,
}

/// Where a request is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'p> {
    pub(crate) account: u64,
    pub(crate) region: &'p str,
}

/// One resource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    pub(crate) collection: usize,
    pub(crate) unit: u64,
    pub(crate) index: u32,
}

impl Item {
    /// What all its values are made of.
    pub(crate) fn seed(self) -> u64 {
        hash::mix(self.unit, u64::from(self.index))
    }

    /// Seventeen hex digits, as EC2's ids have them.
    pub(crate) fn token(self, to: &mut String) {
        let unit = self.unit & ((1 << (4 * UNIT_DIGITS)) - 1);
        // Writing to a string cannot fail.
        let _ = write!(to, "{unit:011x}{:06x}", self.index);
    }
}

impl World {
    pub(crate) fn new(options: &Options, catalog: Catalog) -> Self {
        let per_kind: BTreeMap<&str, u32> =
            options.kinds.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
        let counts = catalog.collections.iter().map(|collection| {
            let own = collection.kinds.iter().find_map(|kind| per_kind.get(kind.as_str()).copied());
            // What is only listed on the way to other resources is there once.
            own.unwrap_or(if collection.kinds.is_empty() { 1 } else { options.resources })
        });
        Self {
            counts: counts.collect(),
            catalog,
            first_account: options.first_account,
            accounts: options.accounts,
            regions: options.regions.clone(),
            seed: hash::mix(options.seed, 0),
            empty_share: options.empty_share,
        }
    }

    /// The position of an account among all, if it is one.
    pub(crate) fn position(&self, account: u64) -> Option<usize> {
        let position = usize::try_from(account.checked_sub(self.first_account)?).ok()?;
        (position < self.accounts).then_some(position)
    }

    pub(crate) fn account_ids(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.accounts as u64).map(|position| self.first_account + position)
    }

    fn collection(&self, index: usize) -> &Collection {
        &self.catalog.collections[index]
    }

    /// What tells a collection in one account and region from all others.
    pub(crate) fn unit(&self, collection: usize, place: Place<'_>) -> u64 {
        let known = self.collection(collection);
        let region = if known.is_global() { 0 } else { hash::text(place.region) };
        hash::mix(hash::mix(hash::mix(self.seed, known.salt), place.account), region)
    }

    /// How many resources a collection has in an account and region.
    pub(crate) fn count(&self, collection: usize, place: Place<'_>) -> u32 {
        // What belongs to something is where that is.
        if self.collection(collection).parent.is_some_and(|parent| self.count(parent, place) == 0) {
            return 0;
        }
        let root = self.unit(self.catalog.root(collection), place);
        let is_empty = hash::share(hash::mix(root, 1)) < self.empty_share;
        if is_empty { 0 } else { self.counts[collection] }
    }

    pub(crate) fn item(&self, collection: usize, place: Place<'_>, index: u32) -> Item {
        Item { collection, unit: self.unit(collection, place), index }
    }

    /// The resource to which another belongs.
    pub(crate) fn parent(&self, item: Item, place: Place<'_>) -> Option<Item> {
        let parent = self.collection(item.collection).parent?;
        let count = self.count(parent, place);
        (count > 0).then(|| self.item(parent, place, item.index % count))
    }

    /// The resource of another collection that a value refers to: always the same one, and one that exists,
    /// unless there are none.
    pub(crate) fn referred(&self, collection: usize, place: Place<'_>, salt: u64) -> Item {
        let count = self.count(collection, place).max(1);
        self.item(collection, place, u32::try_from(salt % u64::from(count)).unwrap_or_default())
    }

    /// How many parents a resource is spread over, and which of the children are whose.
    pub(crate) fn children(
        &self,
        collection: usize,
        parent: Option<Item>,
        place: Place<'_>,
    ) -> (u32, u32, u32) {
        let all = self.count(collection, place);
        let parents = self.collection(collection).parent.map_or(1, |parent| self.count(parent, place)).max(1);
        let first = parent.map_or(0, |parent| parent.index);
        (first, parents, if first < all { (all - first).div_ceil(parents) } else { 0 })
    }

    /// The resource of this collection, account and region whose token stands in a text.
    pub(crate) fn find(&self, collection: usize, place: Place<'_>, text: &str) -> Option<Item> {
        let unit = self.unit(collection, place);
        let mask = (1 << (4 * UNIT_DIGITS)) - 1;
        tokens(text).filter(|(found, _)| *found == unit & mask).last().and_then(|(_, index)| {
            (index < self.count(collection, place)).then_some(Item { collection, unit, index })
        })
    }

    /// Writes a resource's name in a form.
    pub(crate) fn write(&self, item: Item, form: Form, noun: &str, place: Place<'_>, to: &mut String) {
        let collection = self.collection(item.collection);
        match form {
            Form::Id => {
                to.push_str(noun::prefix(noun));
                if !noun::prefix(noun).ends_with('Z') {
                    to.push('-');
                }
                item.token(to);
            }
            Form::Name => {
                to.push_str(collection.noun());
                to.push('-');
                item.token(to);
            }
            Form::Arn => self.write_arn(item, collection, place, to),
            Form::Url => {
                let url = collection.url.as_deref();
                let general = "https://{service}.{region}.amazonaws.com/{account}/{resource}";
                self.fill(url.unwrap_or(general), item, Form::Name, place, to);
            }
        }
    }

    fn write_arn(&self, item: Item, collection: &Collection, place: Place<'_>, to: &mut String) {
        let general = match (collection.service.as_str(), collection.is_global()) {
            // These name no type in their ARNs.
            ("s3", _) => "arn:aws:s3:::{resource}",
            ("sns", _) => "arn:aws:sns:{region}:{account}:{resource}",
            ("codepipeline", _) if collection.parent.is_none() => {
                "arn:aws:codepipeline:{region}:{account}:{resource}"
            }
            (_, true) => "arn:aws:{service}::{account}:{noun}/{resource}",
            (_, false) => "arn:aws:{service}:{region}:{account}:{noun}/{resource}",
        };
        let (template, form) = match &collection.arn {
            Some((template, form)) => (template.as_str(), *form),
            None => (general, Form::Name),
        };
        self.fill(template, item, form, place, to);
    }

    fn fill(&self, template: &str, item: Item, form: Form, place: Place<'_>, to: &mut String) {
        let collection = self.collection(item.collection);
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            to.push_str(before);
            match name {
                "partition" => to.push_str("aws"),
                // The one service whose ARNs have another name than its signatures.
                "service" if collection.service == "cloudwatch" => to.push_str("cloudwatch"),
                "service" => to.push_str(&collection.signing_name),
                "region" => to.push_str(place.region),
                "account" => account_id(place.account, to),
                "noun" => to.push_str(collection.noun()),
                _ => self.write(item, form, collection.noun(), place, to),
            }
            rest = after;
        }
        to.push_str(rest);
    }
}

/// Twelve digits.
pub(crate) fn account_id(account: u64, to: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(to, "{account:012}");
}

/// The name of an account in the organization.
pub(crate) fn account_name(position: usize) -> String {
    format!("workload-{position:04}")
}

/// The tokens in a text: runs of exactly seventeen hex digits.
fn tokens(text: &str) -> impl Iterator<Item = (u64, u32)> + '_ {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.split(move |letter: char| !u8::try_from(letter).is_ok_and(is_hex))
        .filter(|run| run.len() == TOKEN)
        .filter_map(|run| {
            let (unit, index) = run.split_at(UNIT_DIGITS);
            Some((u64::from_str_radix(unit, 16).ok()?, u32::from_str_radix(index, 16).ok()?))
        })
}
