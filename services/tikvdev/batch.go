//go:build !darwin || cgo

package main

import (
	"context"

	"github.com/pingcap/kvproto/pkg/kvrpcpb"
	"github.com/pingcap/kvproto/pkg/tikvpb"
	"github.com/tikv/client-go/v2/tikvrpc"
	"golang.org/x/sync/errgroup"
)

// A stream answers this many requests at a time, and sends this many answers at once. The next request waits in the
// connection.
const (
	batchWorkers = 256
	batchAnswers = 128
)

type (
	batchRequest  = tikvpb.BatchCommandsRequest_Request
	batchResponse = tikvpb.BatchCommandsResponse_Response
)

// BatchCommands is the stream by which client-go sends nearly everything.
func (s *store) BatchCommands(stream tikvpb.Tikv_BatchCommandsServer) error {
	type numbered struct {
		id uint64
		r  *batchResponse
	}
	done := make(chan numbered, batchWorkers)
	sender, ctx := errgroup.WithContext(stream.Context())
	sender.Go(func() error {
		for first := range done {
			b := &tikvpb.BatchCommandsResponse{RequestIds: []uint64{first.id}, Responses: []*batchResponse{first.r}}
			for range min(len(done), batchAnswers-1) {
				next := <-done
				b.RequestIds, b.Responses = append(b.RequestIds, next.id), append(b.Responses, next.r)
			}
			if err := stream.Send(b); err != nil {
				for range done { // so that the workers end
				}
				return err
			}
		}
		return nil
	})
	workers := new(errgroup.Group)
	workers.SetLimit(batchWorkers)
	err := receive(stream, func(id uint64, q *batchRequest) {
		workers.Go(func() error {
			done <- numbered{id, s.batched(ctx, q)}
			return nil
		})
	})
	_ = workers.Wait()
	close(done)
	if sending := sender.Wait(); sending != nil {
		return sending
	}
	return err
}

// receive hands over the requests of a stream until it ends.
func receive(stream tikvpb.Tikv_BatchCommandsServer, start func(id uint64, q *batchRequest)) error {
	for {
		b, err := stream.Recv()
		if err != nil {
			return err
		}
		for i, q := range b.Requests {
			start(b.RequestIds[i], q)
		}
	}
}

// batched answers one request of a stream.
func (s *store) batched(ctx context.Context, q *batchRequest) *batchResponse {
	switch q := q.Cmd.(type) {
	case *tikvpb.BatchCommandsRequest_Request_Empty:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_Empty{
			Empty: &tikvpb.BatchCommandsEmptyResponse{TestId: q.Empty.TestId}}}
	case *tikvpb.BatchCommandsRequest_Request_Get:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_Get{
			Get: answer[kvrpcpb.GetResponse](ctx, s, tikvrpc.CmdGet, q.Get)}}
	case *tikvpb.BatchCommandsRequest_Request_BatchGet:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_BatchGet{
			BatchGet: answer[kvrpcpb.BatchGetResponse](ctx, s, tikvrpc.CmdBatchGet, q.BatchGet)}}
	case *tikvpb.BatchCommandsRequest_Request_Scan:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_Scan{
			Scan: answer[kvrpcpb.ScanResponse](ctx, s, tikvrpc.CmdScan, q.Scan)}}
	case *tikvpb.BatchCommandsRequest_Request_Prewrite:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_Prewrite{
			Prewrite: answer[kvrpcpb.PrewriteResponse](ctx, s, tikvrpc.CmdPrewrite, q.Prewrite)}}
	case *tikvpb.BatchCommandsRequest_Request_Commit:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_Commit{
			Commit: answer[kvrpcpb.CommitResponse](ctx, s, tikvrpc.CmdCommit, q.Commit)}}
	case *tikvpb.BatchCommandsRequest_Request_Cleanup:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_Cleanup{
			Cleanup: answer[kvrpcpb.CleanupResponse](ctx, s, tikvrpc.CmdCleanup, q.Cleanup)}}
	case *tikvpb.BatchCommandsRequest_Request_BatchRollback:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_BatchRollback{
			BatchRollback: answer[kvrpcpb.BatchRollbackResponse](ctx, s, tikvrpc.CmdBatchRollback, q.BatchRollback)}}
	case *tikvpb.BatchCommandsRequest_Request_CheckTxnStatus:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_CheckTxnStatus{
			CheckTxnStatus: answer[kvrpcpb.CheckTxnStatusResponse](ctx, s, tikvrpc.CmdCheckTxnStatus, q.CheckTxnStatus)}}
	case *tikvpb.BatchCommandsRequest_Request_TxnHeartBeat:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_TxnHeartBeat{
			TxnHeartBeat: answer[kvrpcpb.TxnHeartBeatResponse](ctx, s, tikvrpc.CmdTxnHeartBeat, q.TxnHeartBeat)}}
	case *tikvpb.BatchCommandsRequest_Request_ScanLock:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_ScanLock{
			ScanLock: answer[kvrpcpb.ScanLockResponse](ctx, s, tikvrpc.CmdScanLock, q.ScanLock)}}
	case *tikvpb.BatchCommandsRequest_Request_ResolveLock:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_ResolveLock{
			ResolveLock: answer[kvrpcpb.ResolveLockResponse](ctx, s, tikvrpc.CmdResolveLock, q.ResolveLock)}}
	case *tikvpb.BatchCommandsRequest_Request_DeleteRange:
		return &batchResponse{Cmd: &tikvpb.BatchCommandsResponse_Response_DeleteRange{
			DeleteRange: answer[kvrpcpb.DeleteRangeResponse](ctx, s, tikvrpc.CmdDeleteRange, q.DeleteRange)}}
	}
	return new(batchResponse) // which client-go takes for an unknown command
}
