"""The control plane of a network of appliances: what they report, and who serves whom.

`tables`, `atlas`, `decisions`, `grants`, `liveness`, `turn_up`, `pushed_documents` and
`client_urls` decide and do nothing, and so do `pathways`, `hls_playlists` and `dash_playlists` for
players, `demand`, `shedding`, `what_if` (of `projections`, `wishes` and `cascades`),
`recorded_decisions` and `footprints` for operators;
`membership` holds what was reported, `intake` takes it, `contacting` asks appliances, `keeping`
writes it down, `shared_state` tells other instances, `journal` takes note of decisions, `app` and
`process` answer.
`popularity`, `allotment`, `presence` and `planned_manifests` decide who is to hold what and know
who has it; `stock` holds that, and `stocking` keeps it up to date.
docs/fleet.md says what a decision is made of.
"""
