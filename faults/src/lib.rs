//! The fault campaign.
