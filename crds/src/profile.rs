//! What the profile fills in.

use crate::{BuildSpec, Profile, ReleaseSpec, Similarity, SimilarityMetric};

impl BuildSpec {
    /// The settings that a plan reads: everything that was left open and that the profile decides is filled in.
    /// Applying it twice changes nothing.
    ///
    /// `scaled`: 420 sentences and 198 images per cluster, the paper's ratios (§3.2, §3.4: 0.84 billion in 2 million,
    /// 198 million in 1 million), a recall of 0.95 unless both probes are given, and near pairs
    /// are verified before they count as duplicates, which allows to propose more of images. `paper`: 2,000,000 and
    /// 1,000,000 clusters, and one cluster searched per image.
    #[must_use]
    pub fn effective(&self) -> Self {
        let mut spec = self.clone();
        let stages = &mut spec.stages;
        for (cluster, per_cluster, clusters) in
            [(&mut stages.sentence_cluster, 420, 2_000_000), (&mut stages.image_cluster, 198, 1_000_000)]
        {
            if cluster.rows_per_cluster.is_none() && cluster.clusters.is_none() {
                match self.profile {
                    Profile::Scaled => cluster.rows_per_cluster = Some(per_cluster),
                    Profile::Paper => cluster.clusters = Some(clusters),
                }
            }
        }
        for (dedup, verified) in [(&mut stages.sentence_dedup_semantic, 0.1), (&mut stages.image_dedup_semantic, 0.2)] {
            if *dedup.verify.get_or_insert(self.profile == Profile::Scaled) {
                dedup.max_distance.get_or_insert(verified);
            }
            dedup.max_distance = Some(dedup.distance());
            dedup.max_radius = Some(dedup.radius());
        }
        let retrieve = &mut stages.retrieve;
        match self.profile {
            Profile::Scaled => {
                if retrieve.target_recall.is_none()
                    && (retrieve.probe_cells.is_none() || retrieve.probe_clusters.is_none())
                {
                    retrieve.target_recall = Some(0.95);
                }
            }
            Profile::Paper => {
                if retrieve.probe_cells.is_none() && retrieve.target_recall.is_none() {
                    retrieve.probe_cells = Some(1);
                }
                retrieve.probe_clusters.get_or_insert(1);
            }
        }
        spec
    }
}

impl ReleaseSpec {
    /// The settings that selection reads: the band that was left open is the profile's. Applying it twice changes nothing.
    ///
    /// `scaled`: all but 7.5 % at each end. `paper`: (1 + cosine) / 2 from 0.51 to 0.61 (§3.3).
    #[must_use]
    pub fn effective(&self, profile: Profile) -> Self {
        let mut spec = self.clone();
        spec.similarity.get_or_insert_with(|| match profile {
            Profile::Scaled => Similarity {
                drop_below_quantile: Some(0.075),
                drop_above_quantile: Some(0.075),
                ..Similarity::default()
            },
            Profile::Paper => Similarity {
                metric: SimilarityMetric::HalfShifted,
                low: Some(0.51),
                high: Some(0.61),
                ..Similarity::default()
            },
        });
        spec
    }
}
