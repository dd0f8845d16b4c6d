package main

import (
	"maps"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/catena-im/catena/pkg/conf"
)

var composeVariable = regexp.MustCompile(`\$\{(\w+):-([^}]*)\}`)

// composeEnvironment is the environment of a service, with the defaults of the variables in it.
func composeEnvironment(service any) map[string]string {
	env := map[string]string{}
	m, _ := at(service, "environment").(map[string]any)
	for name, value := range m {
		env[name] = composeVariable.ReplaceAllString(word(value), "$2")
	}
	return env
}

func pairs(env map[string]string) []string {
	var all []string
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	return all
}

// imageEnvironment is what the Dockerfile sets.
func imageEnvironment(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(content)) {
		if rest, ok := strings.CutPrefix(line, "ENV "); ok {
			for _, pair := range strings.Fields(rest) {
				name, value, _ := strings.Cut(pair, "=")
				env[name] = value
			}
		}
	}
	return env
}

// TestComposeFileIsConsistent holds configs/cluster/compose.yaml against the configuration that catena takes, and its
// services against one another.
func TestComposeFileIsConsistent(t *testing.T) {
	services, _ := documents(t, "cluster/compose.yaml")[0].at("services").(map[string]any)
	reachable := map[string][]string{"pd": {"2379"}, "nats-1": {"4222", "6222"}, "nats-2": {"4222", "6222"}, "nats-3": {"4222", "6222"}}
	for name := range reachable {
		if services[name] == nil {
			t.Errorf("there is no service %s", name)
		}
	}
	users := permitted(t, configs+"nats/nats.conf", composeEnvironment(services["nats-1"]))
	image := imageEnvironment(t)
	roles := map[string]int{}
	for name, service := range services {
		if word(at(service, "image")) != "catena" {
			continue
		}
		env := maps.Clone(image)
		maps.Copy(env, composeEnvironment(service))
		cfg := accepted(t, name, conf.Sources{Env: pairs(env)}, rolesOf(word(at(service, "command", 0)))...)
		hears(t, name, cfg, users)
		reaches(t, name, cfg.NATS.URL, reachable)
		if cfg.Store.Driver == driverTiKV {
			reaches(t, name, strings.Join(cfg.Store.TiKV.PD, ","), reachable)
		}
		if name == "provision" {
			continue
		}
		if cfg.Node != name {
			t.Errorf("%s calls itself %s", name, cfg.Node)
		}
		roles[cfg.Roles[0]]++
		_, admin, _ := net.SplitHostPort(cfg.Admin.Listen)
		if probe := word(at(service, "healthcheck", "test", 5)); probe != "http://127.0.0.1:"+admin+"/readyz" {
			t.Errorf("%s is asked at %s and answers at %s", name, probe, cfg.Admin.Listen)
		}
		if published := word(at(service, "ports", 0)); cfg.has(roleEdge) && !strings.HasSuffix(published, ":7300") || cfg.Listen != "0.0.0.0:7300" {
			t.Errorf("%s publishes %q and listens at %s", name, published, cfg.Listen)
		}
	}
	if want := map[string]int{roleEdge: 2, roleSequencer: 2, roleHistory: 2}; !maps.Equal(roles, want) {
		t.Errorf("got roles %v, want %v", roles, want)
	}
}
