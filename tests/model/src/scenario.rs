//! The scenarios: where the two resources are, and how the mapping may change.

/// A kind whose resources several accounts may list.
pub const SHARED: u8 = 0;
/// A kind whose resources belong to a single account.
pub const SINGLE: u8 = 1;

/// A resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// Its kind: [`SHARED`] or [`SINGLE`].
    pub kind: u8,
    /// Its region: 0, the main one, or 1.
    pub region: u8,
    /// The account that owns it.
    pub owner: u8,
}

/// An entry of the mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its kind.
    pub kind: u8,
    /// The blueprint that it fills: 0, 1 or 2.
    pub blueprint: u8,
    /// Whether the identifier is a name that both resources have.
    pub name: bool,
    /// Whether a relation states the account that was read.
    pub account: bool,
    /// Whether a property states the region that was read.
    pub region: bool,
    /// The regions that `regionPolicy` leaves, as bits.
    pub allowed: u8,
    /// Whether it names entities by a search query.
    pub searched: bool,
    /// Whether only an evaluation tells the blueprint.
    pub computed: bool,
}

impl Entry {
    /// An entry as default mappings have it: it states account and region.
    pub const fn of(kind: u8, blueprint: u8) -> Self {
        Self {
            kind,
            blueprint,
            name: false,
            account: true,
            region: true,
            allowed: 3,
            searched: false,
            computed: false,
        }
    }

    const fn named(self) -> Self {
        Self { name: true, ..self }
    }

    const fn silent(self) -> Self {
        Self { account: false, region: false, ..self }
    }

    const fn only(self, allowed: u8) -> Self {
        Self { allowed, ..self }
    }

    const fn searched(self) -> Self {
        Self { searched: true, ..self }
    }

    const fn computed(self) -> Self {
        Self { computed: true, ..self }
    }
}

/// What is explored. Every scenario has two accounts, two regions, two kinds and two resources.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The resources.
    pub resources: [Resource; 2],
    /// What the mapping may be; the first is that of the beginning.
    pub mappings: Vec<Vec<Entry>>,
    /// Whether there is a state directory.
    pub ledger: bool,
    /// For how many resources and entities each one stands.
    pub weight: u64,
    /// How many faults and changes may happen, beside what units do in each resync.
    pub faults: u8,
    /// Whether people and other integrations write entities.
    pub people: bool,
    /// Whether resources may become no entity.
    pub unmapped: bool,
}

/// Name, resources, mappings, weight, faults, and whether people write entities.
type Described = (&'static str, [Resource; 2], Vec<Vec<Entry>>, u64, u8, bool);

/// All scenarios, each with a state directory and without.
pub fn all() -> Vec<Scenario> {
    let place = |kind, region, owner| Resource { kind, region, owner };
    let (shared, single) = (Entry::of(SHARED, 0), Entry::of(SINGLE, 1));
    let list: [Described; 10] = [
        (
            "a shared resource and one of a single account",
            [place(SHARED, 0, 0), place(SINGLE, 1, 1)],
            vec![
                vec![shared, single],
                vec![Entry::of(SHARED, 2), single],
                vec![shared, Entry::of(SINGLE, 2)],
            ],
            1,
            1,
            false,
        ),
        (
            "two shared resources of two owners, in a place that may be left",
            [place(SHARED, 1, 0), place(SHARED, 1, 1)],
            vec![vec![shared, single], vec![shared.named(), single], vec![shared.only(1), single]],
            1,
            2,
            false,
        ),
        (
            "two resources of one account and kind",
            [place(SINGLE, 0, 0), place(SINGLE, 1, 0)],
            vec![
                vec![shared, single],
                vec![shared, single.only(1)],
                vec![shared, single.only(0)],
                vec![shared, single.silent()],
                vec![shared, single.named()],
                vec![shared],
            ],
            1,
            1,
            false,
        ),
        (
            "two kinds that fill one blueprint",
            [place(SHARED, 0, 0), place(SINGLE, 0, 1)],
            vec![
                vec![shared, Entry::of(SINGLE, 0)],
                vec![shared, single],
                vec![Entry::of(SINGLE, 0)],
                vec![shared.computed(), Entry::of(SINGLE, 0)],
            ],
            1,
            1,
            false,
        ),
        (
            "two entries of one kind",
            [place(SINGLE, 0, 0), place(SINGLE, 0, 1)],
            vec![vec![shared, Entry::of(SINGLE, 2), single], vec![shared, single]],
            1,
            1,
            false,
        ),
        (
            "people and other integrations",
            [place(SHARED, 0, 0), place(SINGLE, 0, 0)],
            vec![vec![shared, single], vec![shared.searched(), single]],
            1,
            1,
            true,
        ),
        (
            "a search query finds what people made",
            [place(SHARED, 0, 0), place(SINGLE, 1, 0)],
            vec![vec![shared.searched(), single]],
            1,
            2,
            true,
        ),
        ("scopes come and go", [place(SINGLE, 0, 0), place(SINGLE, 0, 1)], vec![vec![single]], 1, 3, false),
        (
            "people rename a blueprint",
            [place(SINGLE, 0, 0), place(SINGLE, 1, 1)],
            vec![vec![shared, single], vec![shared, Entry::of(SINGLE, 2)]],
            1,
            1,
            true,
        ),
        (
            "twenty of each",
            [place(SINGLE, 0, 0), place(SINGLE, 1, 1)],
            vec![vec![shared, single], vec![shared, single.only(1)]],
            20,
            1,
            false,
        ),
    ];
    let with = |ledger: bool| {
        list.clone().map(|(name, resources, mappings, weight, faults, people)| Scenario {
            name: format!("{name}, {} a state directory", if ledger { "with" } else { "without" }),
            resources,
            mappings: mappings.clone(),
            ledger,
            weight,
            faults,
            people,
            // More of what units may do makes many more states.
            unmapped: weight > 1 || mappings.len() > 5,
        })
    };
    [true, false].into_iter().flat_map(with).collect()
}
