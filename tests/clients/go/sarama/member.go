package main

import (
	"context"
	"errors"
	"time"

	"github.com/IBM/sarama"

	"corelane/tests/clients/lines"
)

var strategies = map[string]sarama.BalanceStrategy{
	"range":      sarama.NewBalanceStrategyRange(),
	"roundrobin": sarama.NewBalanceStrategyRoundRobin(),
	"sticky":     sarama.NewBalanceStrategySticky(),
}

var resets = map[string]int64{"earliest": sarama.OffsetOldest, "latest": sarama.OffsetNewest}

func member(ctx context.Context, asked lines.Request, told *lines.Member) error {
	session := time.Duration(asked.SessionMs) * time.Millisecond
	config := settings()
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategies[asked.Assignor]}
	config.Consumer.Group.Session.Timeout = session
	config.Consumer.Group.Heartbeat.Interval = session / 6
	config.Consumer.Group.InstanceId = asked.Instance
	config.Consumer.Offsets.Initial = resets[asked.Reset]
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Metadata.RefreshFrequency = time.Second
	group, err := sarama.NewConsumerGroup([]string{asked.Broker}, asked.Group, config)
	if err != nil {
		return err
	}
	defer group.Close()
	for ctx.Err() == nil {
		err := group.Consume(ctx, []string{asked.Topic}, &claims{asked.Topic, told})
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return nil
}

// claims is sarama's handler: Setup and Cleanup once for each generation, ConsumeClaim for each partition.
type claims struct {
	topic string
	told  *lines.Member
}

func (claims *claims) Setup(session sarama.ConsumerGroupSession) error {
	claims.told.Assigned(session.Claims()[claims.topic])
	return nil
}

func (claims *claims) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (claims *claims) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case got, open := <-claim.Messages():
			if !open {
				return nil
			}
			read := []lines.Record{{Partition: got.Partition, Offset: got.Offset, Value: got.Value}}
			offsets := claims.told.Records(read)
			if offsets == nil {
				return nil
			}
			session.MarkOffset(got.Topic, got.Partition, got.Offset+1, "")
			session.Commit()
			// Commit says nothing of its success; while the session lasts, it was no rebalance that refused it.
			claims.told.Committed(offsets, session.Context().Err())
		case <-session.Context().Done():
			return nil
		}
	}
}
