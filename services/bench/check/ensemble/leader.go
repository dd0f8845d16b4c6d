package ensemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
)

// leader asks a NATS server who leads the streams and returns who leads most.
func (e *Ensemble) leader(ctx context.Context) (string, error) {
	at := slices.IndexFunc(e.is.Processes, func(p process) bool { return p.Kind == "nats" })
	if at < 0 {
		return "", errors.New("the cluster has no NATS server")
	}
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(e.is.Processes[at].Ports["monitor"])) + "/jsz?streams=true&accounts=true"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask who leads the streams: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("ask who leads the streams: %w", err)
	}
	return mostLeading(text)
}

// mostLeading is the server that leads most streams in what NATS tells of JetStream; ties go to the first name.
func mostLeading(jsz []byte) (string, error) {
	var told struct {
		Accounts []struct {
			Streams []struct {
				Cluster struct {
					Leader string `json:"leader"`
				} `json:"cluster"`
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := json.Unmarshal(jsz, &told); err != nil {
		return "", fmt.Errorf("who leads the streams: %w", err)
	}
	leads := map[string]int{}
	most := ""
	for _, a := range told.Accounts {
		for _, s := range a.Streams {
			l := s.Cluster.Leader
			if l == "" {
				continue
			}
			leads[l]++
			if most == "" || leads[l] > leads[most] || leads[l] == leads[most] && l < most {
				most = l
			}
		}
	}
	if most == "" {
		return "", errors.New("no NATS server leads a stream")
	}
	return most, nil
}
