//! Other people's rules: KubeEdge conversations, kubectl rows, MQTT clauses.
