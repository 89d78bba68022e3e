"""A stand-in for a cluster: an API server that kubectl and Helm take for one, and what they reach of a pod.

What it is not: a scheduler, a kubelet, an admission chain. It keeps objects, refuses what the schemas of
Kubernetes and `tests.chart.apiserver` refuse, and says of every Deployment that it is rolled out.
"""
