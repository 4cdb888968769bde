//! Seeded mistakes. Each replaces one decision; everything else is real.

use std::fmt;

/// A seeded mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// An ARN in a property is taken as evidence of the account; here it always names the first one.
    ArnEvidence,
    /// A shared kind counts as one whose resources belong to a single account.
    SharedKindAttributed,
    /// Only the unit that wrote last is recorded.
    LastWriterWins,
    /// What an account that left the list produced is gone.
    MissingAccountGone,
    /// What was in a region that was opted out is gone.
    RegionOptedOutGone,
    /// What the `regionPolicy` leaves out is gone.
    RegionPolicyGone,
    /// What no entry fills any more is gone.
    BlueprintRenamedGone,
    /// The units that today's mapping has for a blueprint decide, whoever is recorded.
    TodaysMapping,
    /// Without a record only units that may fill the blueprint have to complete.
    UnknownIgnoresOtherKinds,
    /// Only the first recorded producer has to prove absence.
    FirstProducerOnly,
    /// A resync that never ended leaves its own producers instead of those before.
    CrashForgetsProducers,
    /// A live event deletes what nobody is recorded for.
    EventWithoutRecord,
    /// A live event deletes what its account is one of several producers of.
    EventOfOneProducer,
    /// A live event deletes whatever another account is recorded for.
    EventOfAnyAccount,
    /// Identifiers of integrations that end alike count as own.
    SuffixOwnership,
    /// What a search query found counts as own.
    SearchCountsAsOwn,
    /// An entity is recorded for the units that saw it, although others could not be read.
    ProvisionalTooSmall,
    /// A producer goes as soon as another unit produces the entity.
    ProducersReplaced,
    /// A resource that became no entity is no reason to keep one.
    UnmappedIsComplete,
    /// A list that was cut off counts as complete, as when a codec does not reject it.
    LieIsComplete,
    /// Nobody looks a second time.
    NoSecondLook,
    /// A scope is counted as missing by resyncs that are not complete.
    IncompleteResyncsCount,
    /// A scope that came back is still counted from when it was missing first.
    ReturnIsForgotten,
    /// No limit holds anything back.
    NoLimits,
    /// Where nothing is recorded, nothing is ever deleted.
    UnknownForever,
    /// Nothing that a scope that is not read produced is ever deleted.
    RemovedForever,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::ArnEvidence,
        Self::SharedKindAttributed,
        Self::LastWriterWins,
        Self::MissingAccountGone,
        Self::RegionOptedOutGone,
        Self::RegionPolicyGone,
        Self::BlueprintRenamedGone,
        Self::TodaysMapping,
        Self::UnknownIgnoresOtherKinds,
        Self::FirstProducerOnly,
        Self::CrashForgetsProducers,
        Self::EventWithoutRecord,
        Self::EventOfOneProducer,
        Self::EventOfAnyAccount,
        Self::SuffixOwnership,
        Self::SearchCountsAsOwn,
        Self::ProvisionalTooSmall,
        Self::ProducersReplaced,
        Self::UnmappedIsComplete,
        Self::LieIsComplete,
        Self::NoSecondLook,
        Self::IncompleteResyncsCount,
        Self::ReturnIsForgotten,
        Self::NoLimits,
        Self::UnknownForever,
        Self::RemovedForever,
    ];

    /// How the scenario begins in which it shows soonest.
    pub fn scenario(self) -> &'static str {
        match self {
            Self::CrashForgetsProducers
            | Self::EventOfOneProducer
            | Self::FirstProducerOnly
            | Self::RegionPolicyGone => "two shared resources",
            Self::SuffixOwnership => "people and other",
            Self::SearchCountsAsOwn => "a search query",
            Self::UnmappedIsComplete => "two resources of one account",
            Self::ReturnIsForgotten => "scopes come and go",
            Self::NoLimits => "twenty of each",
            _ => "a shared resource",
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
