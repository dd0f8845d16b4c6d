package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/catena-im/catena/pkg/conf"
)

// manifests are the objects of configs/kubernetes.
type manifests []tree

func (m manifests) find(kind, name string) tree {
	at := slices.IndexFunc(m, func(d tree) bool { return word(d.at("kind")) == kind && word(d.at("metadata", "name")) == name })
	if at < 0 {
		return nil
	}
	return m[at]
}

func (m manifests) workloads() manifests {
	return slices.DeleteFunc(slices.Clone(m), func(d tree) bool { return d.at("spec", "template", "spec", "containers") == nil })
}

// selected reports whether a workload's pods have the labels.
func selected(workload tree, labels any) bool {
	want, _ := labels.(map[string]any)
	for name, value := range want {
		if word(workload.at("spec", "template", "metadata", "labels", name)) != word(value) {
			return false
		}
	}
	return len(want) > 0
}

func kubernetes(t *testing.T) manifests {
	t.Helper()
	return slices.Concat(documents(t, "kubernetes/catena.yaml"), documents(t, "kubernetes/nats.yaml"), documents(t, "kubernetes/tikv.yaml"))
}

// environment is that of a workload's container; what comes from a secret or a field is named after it.
func environment(t *testing.T, m manifests, workload tree) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, v := range list(workload.at("spec", "template", "spec", "containers", 0, "env")) {
		value := word(at(v, "value"))
		if ref := at(v, "valueFrom", "secretKeyRef"); ref != nil {
			value = word(m.find("Secret", word(at(ref, "name"))).at("stringData", word(at(ref, "key"))))
			if value == "" {
				t.Errorf("%v names a secret that is not there: %v", workload.at("metadata", "name"), ref)
			}
		} else if at(v, "valueFrom") != nil {
			value = "pod-0"
		}
		env[word(at(v, "name"))] = value
	}
	return env
}

// TestKubernetesConfigurationIsAccepted holds what the pods of catena are given against what catena takes.
func TestKubernetesConfigurationIsAccepted(t *testing.T) {
	m := kubernetes(t)
	file := filepath.Join(t.TempDir(), "catena.yaml")
	if err := os.WriteFile(file, []byte(word(m.find("ConfigMap", "catena").at("data", "catena.yaml"))), 0o600); err != nil {
		t.Fatal(err)
	}
	users := permitted(t, configs+"nats/nats.conf", environment(t, m, m.find("StatefulSet", "nats")))
	seen := map[string]bool{}
	for _, w := range m.workloads() {
		name, container := word(w.at("metadata", "name")), w.at("spec", "template", "spec", "containers", 0)
		if word(at(container, "image")) != "catena" {
			continue
		}
		var args []string
		for _, a := range list(at(container, "args")) {
			args = append(args, word(a))
		}
		cmd, flags, err := newRoot().Find(args)
		if err != nil || cmd.ParseFlags(flags) != nil || cmd.Flag("config").Value.String() != "/etc/catena/catena.yaml" {
			t.Errorf("%s runs %v: %v", name, args, err)
			continue
		}
		env := environment(t, m, w)
		cfg := accepted(t, name, conf.Sources{File: file, Env: pairs(env), Flags: cmd.Flags()}, rolesOf(cmd.Name())...)
		hears(t, name, cfg, users)
		reaches(t, name, cfg.NATS.URL, map[string][]string{"nats-0.nats": {"4222"}, "nats-1.nats": {"4222"}, "nats-2.nats": {"4222"}})
		reaches(t, name, cfg.Store.TiKV.PD[0], map[string][]string{word(m.find("TidbCluster", "tikv").at("metadata", "name")) + "-pd": {"2379"}})
		seen[name] = true
		if cmd.Name() == "serve" {
			probed(t, name, container, cfg)
		}
	}
	if want := map[string]bool{"catena-provision": true, "edge": true, "sequencer": true, "history": true}; !maps.Equal(seen, want) {
		t.Errorf("got %v, want %v", seen, want)
	}
}

// rolesOf is empty where the flags say it; the provisioner needs what a sequencer needs.
func rolesOf(command string) []string {
	if command == "provision" {
		return []string{roleSequencer}
	}
	return nil
}

// probed checks the ports and probes of a container of catena.
func probed(t *testing.T, name string, container any, cfg Config) {
	t.Helper()
	ports := map[string]string{}
	for _, p := range list(at(container, "ports")) {
		ports[word(at(p, "name"))] = word(at(p, "containerPort"))
	}
	if want := ":" + ports["admin"]; cfg.Admin.Listen != "0.0.0.0"+want {
		t.Errorf("%s: the probes go to %s, the process listens at %s", name, want, cfg.Admin.Listen)
	}
	if cfg.has(roleEdge) && cfg.Listen != "0.0.0.0:"+ports["ws"] {
		t.Errorf("%s: clients go to %s, the process listens at %s", name, ports["ws"], cfg.Listen)
	}
	for probe, path := range map[string]string{"startupProbe": "/readyz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"} {
		if got := fmt.Sprint(at(container, probe, "httpGet", "path"), at(container, probe, "httpGet", "port")); got != path+"admin" {
			t.Errorf("%s: %s asks %s", name, probe, got)
		}
	}
}

// TestKubernetesObjectsFitTogether follows the references between the manifests.
func TestKubernetesObjectsFitTogether(t *testing.T) {
	m := kubernetes(t)
	for _, w := range m.workloads() {
		name := word(w.at("metadata", "name"))
		if word(w.at("kind")) == "Job" {
			continue
		}
		if !selected(w, w.at("spec", "selector", "matchLabels")) {
			t.Errorf("%s does not select its own pods", name)
		}
		if grace, _ := w.at("spec", "template", "spec", "terminationGracePeriodSeconds").(int); grace < 30 {
			t.Errorf("%s has %d s to stop", name, grace)
		}
		budget := m.find("PodDisruptionBudget", name)
		if !selected(w, budget.at("spec", "selector", "matchLabels")) {
			t.Errorf("the disruption budget %s does not select its pods", name)
		}
		if service := word(w.at("spec", "serviceName")); service != "" && m.find("Service", service) == nil {
			t.Errorf("%s names the service %s, which is not there", name, service)
		}
	}
	for _, s := range m {
		if word(s.at("kind")) != "Service" {
			continue
		}
		for _, p := range list(s.at("spec", "ports")) {
			if !slices.ContainsFunc(m.workloads(), func(w tree) bool {
				return selected(w, s.at("spec", "selector")) && slices.ContainsFunc(list(w.at("spec", "template", "spec", "containers", 0, "ports")),
					func(c any) bool { return at(c, "name") == at(p, "targetPort") })
			}) {
				t.Errorf("the service %v has the port %v, which no pod of its has", s.at("metadata", "name"), p)
			}
		}
	}
	for _, d := range m {
		if word(d.at("metadata", "namespace")) != "catena" && word(d.at("kind")) != "Namespace" {
			t.Errorf("%v %v is in another namespace", d.at("kind"), d.at("metadata", "name"))
		}
	}
}
